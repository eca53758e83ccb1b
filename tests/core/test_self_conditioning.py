"""A denoiser that is told its own last prediction: in training, and from step to step of sampling."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from anylatent import random
from anylatent.conditioners.base import Conditions
from anylatent.conditioners.standard import ClassConfig
from anylatent.denoiser import TOLD, Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.energies import FunctionEnergy
from anylatent.engine import Engine, Request, receipts
from anylatent.generation import RowGenerator, gathered
from anylatent.guidance.base import Guidance
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.guidance.none import Unguided
from anylatent.guidance.without_streams import WithoutStreams
from anylatent.hooks.residual_cache import ResidualCache
from anylatent.objective import Objective
from anylatent.objective.objective import told
from anylatent.paths.base import Path, Prediction
from anylatent.paths.edm import EDM
from anylatent.paths.rectified import Rectified
from anylatent.paths.vocabulary import Masked
from anylatent.sampling import Sampling
from anylatent.schedules.base import Schedule
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.discrete import AncestralDiscrete
from anylatent.solvers.heun import Heun
from anylatent.solvers.value_search import ValueSearch
from anylatent.spec import StreamSpec
from anylatent.state import State
from anylatent.testing.backbones import random_state, shaken, two_stream_specs
from anylatent.types import Tensor

SPECS = two_stream_specs()
LARGE = FunctionEnergy(function=lambda x, layout: x.sum((1, 2)))
ASKED = [{"label": i % 3} for i in range(3)]


def denoiser(
    share: float = 0.5, specs: tuple[StreamSpec, ...] = SPECS, path: Path | None = None, prediction: Prediction = "velocity"
) -> Denoiser:
    torch.manual_seed(0)
    conditions = Conditions(32, {"label": ClassConfig().build(32, [0, 1, 2])})
    backbone = DiTConfig(depth=1, width=32, heads=2, self_conditioning=share).build(specs, False)
    return Denoiser(backbone, conditions, {spec.name: Corruption(path or Rectified(), prediction) for spec in specs})


def able(*args: Any, **kwargs: Any) -> Denoiser:
    """One whose every weight does something."""
    made = denoiser(*args, **kwargs)
    shaken(made)
    return made.eval().requires_grad_(False)


def empty(sizes: list[int], specs: tuple[StreamSpec, ...] = SPECS) -> State:
    state = random_state(specs, sizes)
    return state.with_time({name: torch.zeros_like(stream.time) for name, stream in state.streams.items()})


class Spy(torch.nn.Module):
    """Keeps what a denoiser was told, asked and said at each call."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self.inner, self.heard = inner, []
        inner.register_forward_pre_hook(self._ask)
        inner.register_forward_hook(self._answer)

    def _ask(self, module: Any, given: tuple[Any, ...]) -> None:
        self.heard.append({"state": given[0]})

    def _answer(self, module: Any, given: Any, said: Mapping[str, Tensor]) -> None:
        self.heard[-1]["said"] = said

    def told(self, stream: str = "field") -> list[Tensor]:
        return [call["state"][stream].told for call in self.heard]


def test_off_is_the_same_network_bit_for_bit() -> None:
    """No weight more, and with it on, all the others begin as they would without; being told nothing is being told 0."""
    off, on = denoiser(0.0), denoiser(0.5)
    more = {name for name, _ in on.named_parameters()} - {name for name, _ in off.named_parameters()}
    assert more == {f"backbone.told.{spec.name}.weight" for spec in SPECS}
    for name, weight in off.named_parameters():
        assert torch.equal(weight, on.get_parameter(name))
    state = random_state(SPECS, [4, 2])
    asked = off.conditions(ASKED[:2])
    noise = {name: torch.randn(stream.shape) for name, stream in state.streams.items()}
    for name, x in off(state, asked).items():
        assert torch.equal(x, off(state.with_told(noise), asked)[name]), "what has no such input does not listen"
        assert torch.equal(x, on(state.with_told(noise), asked)[name]), "what was never trained to listen begins as if it did not"
    shaken(on)
    nothing = on(state, asked)
    for name, x in on(state.with_told({name: torch.zeros_like(x) for name, x in noise.items()}), asked).items():
        assert torch.equal(x, nothing[name])
        assert not torch.equal(x, on(state.with_told(noise), asked)[name])


# ---------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("share", [0.3, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_share_of_the_rows_is_told_the_first_prediction(share: float) -> None:
    model = able(share)
    state = random_state(SPECS, [5] * 40)
    condition = model.conditions([{"label": i % 3} for i in range(40)])
    given = told(state, model, condition, step=7)
    first = model(state, condition)
    chosen = random.uniform(state.seeds, "self-conditioning", 7, 0, 1)[:, 0] < share
    assert share == 1.0 or 4 <= int(chosen.sum()) <= 20
    for name, x in first.items():
        told_of = given[name].told
        assert told_of is not None
        torch.testing.assert_close(told_of[chosen], x[chosen].clamp(-TOLD, TOLD), atol=1e-5, rtol=1e-5)
        assert not told_of[~chosen].any()
    other = told(state, model, condition, step=8)["field"].told
    alone = told(state.select([3]), model, condition.select(torch.tensor([3])), step=7)["field"].told
    together = given["field"].told
    assert other is not None
    assert alone is not None
    assert together is not None
    assert share == 1.0 or not torch.equal(other != 0, together != 0)
    torch.testing.assert_close(alone, together[3:4], atol=1e-5, rtol=1e-5)


def test_the_first_pass_has_no_gradient_and_takes_none_from_the_second() -> None:
    """Also under autocast, which keeps casts of weights from one pass to the next."""
    model = denoiser(1.0)
    shaken(model)
    state = empty([4] * 6)
    condition = model.conditions([{"label": i % 3} for i in range(6)])
    objective = Objective()
    noised, targets = objective.corrupt(state, model, 3)
    fixed = told(noised, model, condition, 3)
    loss = torch.zeros(6)
    for name, target in targets.items():
        counts = fixed[name].mask.float()
        loss = loss + ((model.predict(fixed, condition)[name] - target).square().mean(-1) * counts).sum(1) / counts.sum(1)
    expected = torch.autograd.grad(loss.sum(), list(model.backbone.parameters()))
    found = objective.loss(model, state, condition, 3)
    torch.testing.assert_close(found, loss)
    for one, other in zip(torch.autograd.grad(found.sum(), list(model.backbone.parameters())), expected, strict=True):
        torch.testing.assert_close(one, other)
    with torch.autocast("cpu", torch.bfloat16):
        cast = objective.loss(model, state, condition, 3)
    gradients = torch.autograd.grad(cast.sum(), list(model.backbone.parameters()), allow_unused=True)
    assert all(gradient is not None and gradient.any() for gradient in gradients)


def test_what_is_told_stays_finite_where_noise_says_nothing_of_the_data() -> None:
    """Next to t = 1 a predicted noise is divided by nearly nothing; absent tokens are told nothing at all."""
    model = able(1.0, prediction="noise")
    state = random_state(SPECS, [4, 4]).with_time({"field": torch.full((2, 4), 1 - 1e-6), "cloud": torch.ones(2, 4)})
    given = told(state, model, model.conditions(ASKED[:2]), 0)
    near, absent = given["field"].told, given["cloud"].told
    assert near is not None
    assert absent is not None
    assert near.abs().max() == TOLD
    assert not absent.any()


# ---------------------------------------------------------------------------------------------------------- sampling


@pytest.mark.parametrize("guidance", [Unguided(), ClassifierFree(scale=2.0)], ids=["plain", "guided"])
@pytest.mark.parametrize(
    ("specs", "path", "prediction", "solver"),
    [
        (SPECS, Rectified(), "velocity", DDIM()),
        (SPECS, EDM(), "preconditioned", DDIM()),
        ((StreamSpec(name="field", width=5, kind="categorical", prior="mask"),), Masked(), "logits", AncestralDiscrete()),
    ],
    ids=["rectified", "edm", "masked"],
)
def test_each_step_is_told_what_came_of_the_last(
    specs: tuple[StreamSpec, ...], path: Path, prediction: Prediction, solver: Solver, guidance: Guidance
) -> None:
    """Guided: both branches are told the guided prediction (as in the authors' code, which has one estimate for both)."""
    model = able(specs=specs, path=path, prediction=prediction)
    spy = Spy(model)
    RowGenerator(model, Sampling(steps=3, solver=solver, guidance=guidance), noised=True)(empty([4, 4, 4], specs), ASKED)
    before: Tensor | None = None
    for call in spy.heard:
        given = call["state"]["field"].told
        assert given is not None
        rows = given.split(3)
        assert len(rows) == (2 if isinstance(guidance, ClassifierFree) else 1)
        for branch in rows:
            torch.testing.assert_close(branch, torch.zeros_like(branch) if before is None else before, atol=1e-4, rtol=1e-4)
        said = dict(zip(("asked", "null"), call["said"]["field"].split(3), strict=False))
        combined = path.mixed(said, lambda p: p["null"] + 2 * (p["asked"] - p["null"])) if "null" in said else said["asked"]
        before = path.shown(combined.clamp(-TOLD, TOLD), torch.zeros(3, 1, 1))
    assert len(spy.heard) == 3


def test_rows_are_alone_together_ragged_and_staggered() -> None:
    model = able()
    sampling = Sampling(steps=4, guidance=ClassifierFree(scale=2.0), hooks=(ResidualCache(),), solver=Ancestral())
    state = empty([6, 3, 5])
    engine = Engine(model, 64)

    def request(rows: list[int]) -> Request:
        asked = model.conditions([ASKED[row] for row in rows])
        return Request(state.select(rows), asked, sampling, model.conditions([{}] * len(rows)), noised=True)

    engine.add(request([0, 1]))
    done = list(engine.step())
    engine.add(request([2]))
    while len(done) < 3:
        done += engine.step()
    together = gathered(done, state).state
    for row in range(3):
        alone = RowGenerator(model, sampling, noised=True)(state.select([row]).trimmed(), ASKED[row : row + 1])
        for name, stream in alone.streams.items():
            mine = together[name].values[row : row + 1, : stream.shape[1]]
            torch.testing.assert_close(mine, stream.values, atol=1e-4, rtol=1e-4)
    assert receipts(done)["residual-cache"].counts, "the cache had its say"


def test_of_absent_tokens_it_is_told_nothing() -> None:
    model = able()
    spy = Spy(model)
    state = empty([4] * 3)
    state = state.with_time({"cloud": torch.ones_like(state["cloud"].time)})
    RowGenerator(model, Sampling(steps=3), noised=True)(state, ASKED)
    assert any(told.any() for told in spy.told("field"))
    assert not any(told.any() for told in spy.told("cloud"))


@pytest.mark.parametrize("solver", [Heun(), ValueSearch(energy=LARGE, candidates=3)], ids=["heun", "value-search"])
def test_a_steps_other_questions_are_not_remembered(solver: Solver) -> None:
    """They are of other tokens than the row's: what is told later came of the first question of a step."""
    model = able()
    spy = Spy(model)
    RowGenerator(model, Sampling(steps=3, solver=solver), noised=True)(empty([4, 4, 4]), ASKED)
    firsts = [i for i, call in enumerate(spy.heard) if i == 0 or not torch.equal(call["state"]["field"].told, spy.told()[i - 1])]
    # A step's first answer is told to its other questions, and to the next step's first.
    said = [spy.heard[0]["said"]["field"]]
    assert torch.allclose(spy.told()[1], said[0].clamp(-TOLD, TOLD), atol=1e-5)
    per_step = 2 if isinstance(solver, Heun) else 4
    assert firsts == [0, 1, 1 + per_step]
    assert torch.allclose(spy.told()[1 + per_step], spy.heard[per_step]["said"]["field"].clamp(-TOLD, TOLD), atol=1e-5)


class Again(Schedule, kind="test.again"):
    """Down, up, and down again."""

    def times(self, n: int, path: Path, start: float = 1.0) -> Tensor:
        return torch.tensor([0.9, 0.3, 0.7, 0.2, 0.0], dtype=torch.float64)


def test_rows_that_are_noised_again_forget() -> None:
    model = able()
    spy = Spy(model)
    RowGenerator(model, Sampling(steps=4, solver=DDIM(), schedule=Again()), noised=True)(empty([4] * 3), ASKED)
    told_of = [bool(x.any()) for x in spy.told()]
    times = [float(call["state"]["field"].time.max()) for call in spy.heard]
    assert times == pytest.approx([0.9, 0.7, 0.2])
    assert told_of == [False, False, True]


def test_a_branch_without_a_stream_is_told_nothing_of_it() -> None:
    model = able()
    spy = Spy(model)
    RowGenerator(model, Sampling(steps=3, guidance=WithoutStreams(absent=("cloud",), scale=2.0)), noised=True)(empty([4] * 3), ASKED)
    for call in spy.heard[1:]:
        asked, without = call["state"]["cloud"].told.split(3)
        assert asked.any()
        assert not without.any()
        assert all(each.any() for each in call["state"]["field"].told.split(3))


def test_going_back_is_refused() -> None:
    generator = RowGenerator(able(), Sampling(steps=3, solver=DDIM()), noised=True)
    with pytest.raises(
        ValueError, match=r"a self-conditioned denoiser goes by what it said before, not by the tokens alone: that has no way back"
    ):
        generator.invert(empty([4] * 3), ASKED)
