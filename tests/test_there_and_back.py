"""Exactly invertible solvers through a denoiser that has learned something."""

import pytest
from small_runs import digits, executed

from anylatent import Run
from anylatent.editing.translate import Translate
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM
from anylatent.solvers.invertible import BDIA, EDICT


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Digits, a denoiser that has learned to draw their strokes."""
    training = {"steps": 100, "batch": 32, "learning_rate": 2e-3, "checkpoint": 100, "ema": [0.9], "preview": 0, "log": 50}
    recipe = digits(
        tokenizer={"kind": "grid", "patch": [4, 4]},
        denoiser={"kind": "dit", "depth": 2, "width": 64, "heads": 2},
        train=training,
        sample={"count": 1, "steps": 2},
        evaluate=[],
    )
    return executed(recipe, tmp_path_factory.mktemp("trained") / "run")


def back(run: Run, solver: Solver) -> float:
    """The largest difference of a token's number, of eight held-out digits taken to the prior and made again, 20 steps each way."""
    given = [run.test_set[i].sample for i in range(8)]
    made = run.edit(Translate(source={"label": 3}, solver=solver), given, 8, {"label": 3}, steps=20, guidance=1.0)
    (spec,) = run.tokenizer.specs
    return float((made.state[spec.name].values - run.tokenizer.encode(given)[spec.name].values).abs().max())


@pytest.mark.parametrize("solver", [BDIA(), BDIA(gamma=1), EDICT()], ids=lambda solver: f"{solver.kind}-{getattr(solver, 'gamma', '')}")
def test_exact_ones_return_the_start(run: Run, solver: Solver) -> None:
    assert back(run, solver) < 1e-4


def test_others_do_not(run: Run) -> None:
    """The way is not so easy that anything comes back."""
    assert back(run, DDIM()) > 1e-2
