"""SuperDiff's AND: samples of which all conditions hold to be as likely, against closed forms."""

import math
from dataclasses import replace

import pytest
import torch

from anylatent.generation import RowGenerator, gathered
from anylatent.guidance.compose import Compose, Entry
from anylatent.guidance.densities import REACH, levelling
from anylatent.moment import Moment
from anylatent.paths.cosine import Cosine
from anylatent.paths.vocabulary import Masked
from anylatent.sampling import Sampling
from anylatent.solvers.ddim import Ancestral
from anylatent.spec import StreamSpec
from anylatent.state import State
from anylatent.testing.guidance import here_at
from anylatent.testing.oracles import MixtureOracle
from anylatent.types import Tensor

ALIKE = ([[1.0, 0.0], [-1.0, 0.5]], [0.6, 0.6])
APART = ([[0.6, 0.0], [-0.6, 0.5]], [0.4, 0.8])
THREE = ([[0.6, 0.0], [-0.6, 0.5], [0.0, -0.7]], [0.6, 0.6, 0.5])


def oracle(means: list[list[float]], stds: list[float]) -> MixtureOracle:
    return MixtureOracle(Cosine(), torch.full((len(stds),), 1 / len(stds)), torch.tensor(means)[:, None], torch.tensor(stds))


def made(model: MixtureOracle, rule: str, steps: int, rows: int = 100, weights: tuple[float, ...] | None = None) -> Tensor:
    entries = [Entry(ask={"component": k}, weight=weights[k] if weights else 1.0) for k in range(len(model.stds))]
    guidance = Compose.model_validate({"entries": tuple(entries), "rule": rule})
    sampling = Sampling(steps=steps, guidance=guidance, solver=Ancestral(), batch=rows)
    state: State = model.layout(range(rows))
    return gathered(list(RowGenerator(model, sampling, False).stream(state, [{}] * rows)), state).state["tokens"].values


def gaps(model: MixtureOracle, x: Tensor) -> Tensor:
    """log q_i - log q_0 of clean samples, of the mixture's own components."""
    away = ((x[:, None] - model.means) ** 2).sum((2, 3))
    logs = -away / (2 * model.stds**2) - x[0].numel() * model.stds.log()
    return logs[:, 1:] - logs[:, :1]


@pytest.mark.parametrize(
    ("case", "bound"),
    [pytest.param(ALIKE, 0.4, marks=pytest.mark.slow, id="alike"), pytest.param(APART, 0.55, id="apart"),
     pytest.param(THREE, 0.3, marks=pytest.mark.slow, id="three")],
)  # fmt: skip
def test_all_entries_hold_a_sample_to_be_as_likely(case: tuple[list[list[float]], list[float]], bound: float) -> None:
    """Closer with more steps (as their root: the noise of a step is levelled after it); the mean's samples are far from it."""
    model = oracle(*case)
    few, many = (float(gaps(model, made(model, "equal", steps)).square().mean().sqrt()) for steps in (16, 64))
    assert many < 0.75 * few
    assert many < bound
    assert float(gaps(model, made(model, "mean", 8)).square().mean().sqrt()) > 1.3


def test_weights_are_the_ratio_of_the_densities() -> None:
    """The entry of four times the weight is four times as dense there ("lift" in the authors' code)."""
    model = oracle(*ALIKE)
    gap = gaps(model, made(model, "equal", 32, weights=(4.0, 1.0)))
    assert float(gap.mean()) == pytest.approx(-math.log(4), abs=0.15)


@pytest.mark.parametrize(("steps", "share"), [(4, 1.0), (64, 0.5), (400, 0.2)])
def test_one_step_is_levelled_by_hand(steps: int, share: float) -> None:
    """Two predictions: kappa = 1/2 - share (log q_1 - log q_0) / ((snr_s - snr_t) |p_1 - p_0|^2)."""
    path = Cosine()
    parts = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    densities = torch.tensor([[0.0, 0.4], [1.0, -0.5]])
    moment = Moment(torch.full((2,), 0.6), torch.zeros(2, dtype=torch.long), torch.full((2,), steps))
    here = replace(here_at(path, parts[:, 0], torch.full((2, 1, 1), 0.6)), s=torch.full((2, 1, 1), 0.5), moment=moment)
    weights = levelling(parts, densities, here)
    snr = [(path.alpha(torch.tensor(t)) / path.sigma(torch.tensor(t))) ** 2 for t in (0.5, 0.6)]
    lengths = (snr[0] - snr[1]) * (parts[:, 1] - parts[:, 0]).square().sum((1, 2))
    kappa = 0.5 - share * (densities[:, 1] - densities[:, 0]) / lengths
    torch.testing.assert_close(weights, torch.stack((1 - kappa, kappa), 1), atol=1e-4, rtol=1e-4)
    far = levelling(parts, densities * 1e4, here)[:, 1]
    assert ((far - 0.5).abs() * lengths.sqrt()).tolist() == pytest.approx([REACH, REACH], rel=1e-3)
    same = levelling(parts[:, :1].expand(-1, 2, -1, -1), densities, here)
    assert torch.equal(same, torch.full((2, 2), 0.5))


def test_rows_are_alone_together() -> None:
    model = oracle(*THREE)
    together = made(model, "equal", 10, rows=3)
    entries = tuple(Entry(ask={"component": k}) for k in range(3))
    sampling = Sampling(steps=10, guidance=Compose(entries=entries, rule="equal"), solver=Ancestral())
    for row in range(3):
        alone = RowGenerator(model, sampling, False)(model.layout([row]), [{}])
        torch.testing.assert_close(alone["tokens"].values[0], together[row], atol=1e-4, rtol=0)


def test_what_has_no_densities_is_refused() -> None:
    both = Compose(entries=(Entry(), Entry(ask={"component": 1})), rule="equal")
    assert both.supports(Masked()) == "guidance 'compose' follows the densities of its entries on Gaussian paths, not 'masked'"
    specs = (StreamSpec(name="a", width=1), StreamSpec(name="b", width=1))
    assert both.refuses(specs) == (
        "guidance 'compose' follows densities of one stream ('equal'), and here are ['a', 'b']: use a product or mean"
    )
    with pytest.raises(ValueError, match="the rule 'equal' counts every entry: expected weights above 0"):
        Compose(entries=(Entry(weight=-1.0), Entry()), rule="equal")
