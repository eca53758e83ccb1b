"""Streams of tokens that jump: paths, solvers, tokenizers, and what they make together."""

import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError

from anylatent.conditioners.base import Conditions
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.engine import Request, sample
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.joint.tokenizers import JointConfig, LabelConfig
from anylatent.objective import Objective, StreamObjective
from anylatent.objective.times import UniformTimes
from anylatent.paths import Bernoulli, DiscretePath, Masked, Rectified, UniformState
from anylatent.sampling import Sampling, StreamSampling
from anylatent.schedules import CosineSteps, Restart, Uniform
from anylatent.solvers.base import Move, Solver
from anylatent.solvers.ddim import DDIM
from anylatent.solvers.discrete import AncestralDiscrete, DiscreteSolver
from anylatent.solvers.euler import Euler
from anylatent.solvers.tau_leaping import TauLeaping
from anylatent.solvers.unmasking import Unmask
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.testing import DiscretePathContract, DiscreteSolverContract, TokenizerCase, TokenizerContract
from anylatent.testing.backbones import shaken
from anylatent.testing.discrete import DiscreteOracle, apart, every_row, vocabulary
from anylatent.tokenizers.autoencoder import AutoencoderConfig
from anylatent.tokenizers.grid import GridConfig
from anylatent.tokenizers.levels import BitsConfig, LevelsConfig
from anylatent.tokenizers.set import SetConfig

PATHS = [
    Masked(), Masked(keeps="cosine"), Masked(keeps="squared-cosine", replaced=0.3), UniformState(), UniformState(keeps="geometric"),
    Bernoulli(),
]  # fmt: skip
PAIRS = [
    (AncestralDiscrete(), Masked()), (AncestralDiscrete(), Masked(replaced=0.3)), (AncestralDiscrete(), UniformState(keeps="cosine")),
    (AncestralDiscrete(), Bernoulli()), (AncestralDiscrete(remask=2), Masked()), (TauLeaping(), Masked()), (TauLeaping(), UniformState()),
    (Unmask(by="random"), Masked()), (Unmask(by="margin"), Masked(keeps="cosine")), (Unmask(by="entropy", randomness=2), Masked()),
]  # fmt: skip


def key(node) -> str:
    return node.key()


class TestDiscretePaths(DiscretePathContract):
    @pytest.fixture(scope="class", params=PATHS, ids=key)
    @classmethod
    def path(cls, request: pytest.FixtureRequest) -> DiscretePath:
        return request.param


class TestDiscreteSolvers(DiscreteSolverContract):
    @pytest.fixture(scope="class", params=PAIRS, ids=lambda pair: f"{pair[0].key()} {pair[1].key()}")
    @classmethod
    def pair(cls, request: pytest.FixtureRequest) -> tuple[DiscreteSolver, DiscretePath]:
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def solver(cls, pair: tuple[DiscreteSolver, DiscretePath]) -> DiscreteSolver:
        return pair[0]

    @pytest.fixture(scope="class")
    @classmethod
    def path(cls, pair: tuple[DiscreteSolver, DiscretePath]) -> DiscretePath:
        return pair[1]


# --- what the methods claim -------------------------------------------------------------------------------------------


def made(oracle: DiscreteOracle, sampling: Sampling, rows: int, component: int | None = None) -> torch.Tensor:
    """How often each of the oracle's rows is made."""
    asked = [{} if component is None else {"component": component}] * rows
    request = Request(oracle.layout(range(rows)), oracle.conditions(asked), sampling, oracle.conditions.null(rows))
    return oracle.shares(sample(oracle, request, rows=rows)[0]["tokens"].values)


@pytest.mark.parametrize("by", ["random", "entropy", "margin"])
def test_one_token_a_step_is_exact(by: str) -> None:
    """Not drawn apart, tokens have no error but counting's: in any order that does not look at what was drawn."""
    oracle = DiscreteOracle.random(Masked(), tokens=3, width=3, count=5, seed=6)
    exact = made(oracle, Sampling(steps=3, solver=Unmask(by=by)), 3000)
    assert float(exact.sum()) == pytest.approx(1), "rows that are not of the set"
    assert apart(exact, oracle.exact()) < 0.03
    at_once = made(oracle, Sampling(steps=1, solver=Unmask(by=by)), 1000)
    assert apart(at_once, oracle.exact()) > 0.15


def test_the_surest_first_makes_likely_rows_likelier() -> None:
    oracle = DiscreteOracle(
        Masked(), torch.eye(4)[torch.tensor([[0, 0, 0], [1, 2, 0], [2, 1, 1], [1, 1, 2]])], torch.tensor([0.4, 0.2, 0.2, 0.2])
    )
    surest = made(oracle, Sampling(steps=3, solver=Unmask()), 2000)
    assert surest[0] > 0.45, "the row that is likeliest is not likelier"
    chance = made(oracle, Sampling(steps=3, solver=Unmask(randomness=1e6)), 2000)
    assert apart(chance, oracle.exact()) < 0.04, "an order that is all noise is chance"


@pytest.mark.parametrize("tokens", [5, 7])
def test_unmasking_follows_the_path(tokens: int) -> None:
    """After each step as many tokens are masked as the path says, to the nearest; none is left at the end."""
    path, rows = Masked(), 3
    oracle = DiscreteOracle(path, torch.eye(3)[torch.randint(0, 2, (6, tokens), generator=torch.Generator().manual_seed(0))], torch.ones(6))
    solver, x = Unmask(by="random"), torch.eye(3)[-1].expand(rows, tokens, 3)
    memory, counts = solver.memory(x), []
    times = CosineSteps().times(4, path).float()
    for t, s in pairwise(times):
        noise = torch.rand(rows, tokens, 3, generator=torch.Generator().manual_seed(int(1000 * t)))
        move = Move(path, t.expand(rows, 1, 1), s.expand(rows, 1, 1), x[:, :1, :0], lambda draw, purpose="", noise=noise: noise + draw)
        steps = solver.step(x, memory, move)
        next(steps)
        data = torch.full_like(x, 0.5)
        data[..., -1] = 0  # never sure
        with pytest.raises(StopIteration) as stop:
            steps.send(torch.where(x[..., -1:] == 1, data, x))
        x, memory = stop.value.value
        counts.append((x[..., -1] == 1).sum(1).tolist())
    expected = [round(tokens * float(s)) for s in times[1:]]
    assert counts == [[count] * rows for count in expected]
    assert oracle.discrete == path


def test_rows_that_are_noised_again_are_unmasked_again() -> None:
    """A schedule that rises masks some tokens anew; the solver counts them anew."""
    oracle = DiscreteOracle.random(Masked(), tokens=3, width=3, count=4, seed=3)
    restarted = Sampling(steps=6, solver=Unmask(by="random"), schedule=Restart())
    shares = made(oracle, restarted, 400)
    assert float(shares.sum()) > 0.85
    assert apart(shares, oracle.exact()) < 0.2


def test_guidance_is_in_logarithms() -> None:
    """Data of one token: samples of classifier-free guidance are p(x | c)^s p(x)^(1 - s), normalised, in any number of steps."""
    values = torch.eye(5)[:4, None]
    oracle = DiscreteOracle(Masked(), values.repeat(2, 1, 1), torch.tensor([4.0, 3, 2, 1, 1, 1, 1, 5]), torch.arange(8) // 4)
    asked, null = (oracle.weights.view(2, 4)[0], oracle.weights.view(2, 4).sum(0))
    asked = asked / asked.sum()
    exact = asked**3 / null**2
    request = Request(
        oracle.layout(range(2000)), oracle.conditions([{"component": 0}] * 2000),
        Sampling(steps=4, solver=AncestralDiscrete(), guidance=ClassifierFree(scale=3.0)), oracle.conditions.null(2000),
    )  # fmt: skip
    counted = sample(oracle, request, rows=2000)[0]["tokens"].values.mean(0)[0, :4]
    assert apart(counted, exact / exact.sum()) < 0.03
    unguided = Sampling(steps=4, solver=AncestralDiscrete(), guidance=ClassifierFree(scale=1.0))
    plain = Sampling(steps=4, solver=AncestralDiscrete())
    assert torch.equal(made(oracle, unguided, 200, 0), made(oracle, plain, 200, 0))


def test_the_neutral_options_are_exact() -> None:
    oracle = DiscreteOracle.random(Masked(), tokens=3, width=3, count=5)
    generator = torch.Generator().manual_seed(0)
    x = every_row(oracle.specs[0], 3)[::7]
    data = torch.rand(x.shape, generator=generator).masked_fill(torch.arange(4) == 3, 0)
    data = data / data.sum(-1, keepdim=True)
    t, s = torch.full((len(x), 1, 1), 0.6), torch.full((len(x), 1, 1), 0.4)
    path = Masked()
    assert AncestralDiscrete(temperature=1).tempered(path, data) is data
    said = torch.where(x[..., -1:] == 1, data, x)
    torch.testing.assert_close(path.remasked(said, x, t, s, 0.0), path.posterior(said, x, t, s), atol=1e-6, rtol=0)
    torch.testing.assert_close(Masked(replaced=1e-9).posterior(said, x, t, s), path.posterior(said, x, t, s), atol=1e-6, rtol=0)
    cold = AncestralDiscrete(temperature=0.01).tempered(path, data)
    torch.testing.assert_close(cold.argmax(-1), data.argmax(-1))
    assert (cold[data == 0] == 0).all()


def test_remasking_keeps_the_share_that_is_visible() -> None:
    path = Masked()
    x = torch.eye(3)[torch.tensor([0, 2])][:, None]
    t, s = torch.full((2, 1, 1), 0.6), torch.full((2, 1, 1), 0.5)
    data = torch.tensor([0.3, 0.7, 0.0]).expand(2, 1, 3)
    law = path.remasked(torch.where(x[..., -1:] == 1, data, x), x, t, s, 1.5)
    assert float(0.4 * law[0, 0, 2] + 0.6 * law[1, 0, 2]) == pytest.approx(0.5)
    assert float(law[0, 0, 2]) == pytest.approx(1 - math.exp(-0.15), rel=1e-5)


class Table(Masked, kind="test-table"):
    """Mask-and-replace by the tables of another implementation."""

    shares: list[tuple[float, float]]
    """visible and own, at times 0, 1/n, …"""

    def visible(self, t: torch.Tensor) -> torch.Tensor:
        return self._at(t, 0)

    def own(self, t: torch.Tensor) -> torch.Tensor:
        return self._at(t, 1)

    def _at(self, t: torch.Tensor, which: int) -> torch.Tensor:
        column = torch.tensor([pair[which] for pair in self.shares], dtype=t.dtype)
        return column[(t * (len(column) - 1)).round().long()]


@pytest.mark.filterwarnings("ignore")  # a deprecated module of theirs
def test_mask_and_replace_is_vq_diffusions() -> None:
    """The posterior of diffusers' VQ-Diffusion, at several steps of its own schedule, to 1e-4."""
    from diffusers import VQDiffusionScheduler

    n, entries = 20, 5
    scheduler = VQDiffusionScheduler(num_vec_classes=entries + 1, num_train_timesteps=n, alpha_cum_end=0.05, gamma_cum_end=0.8)
    alphas, gammas = scheduler.log_cumprod_at.exp(), scheduler.log_cumprod_ct.exp()
    shares = [(1.0, 1.0), *((1 - float(g), float(a) / (1 - float(g))) for a, g in zip(alphas[:n], gammas[:n], strict=True))]
    path = Table(shares=shares)
    generator = torch.Generator().manual_seed(0)
    log_p = torch.randn(1, entries, 12, generator=generator).log_softmax(1)
    x = torch.randint(0, entries + 1, (1, 12), generator=generator)
    x[0, :3] = entries
    data = torch.nn.functional.pad(log_p.exp().transpose(1, 2), (0, 1))
    for step in (1, 7, n - 1):  # their step k is our time (k + 1) / n
        theirs = scheduler.q_posterior(log_p, x, step).exp().transpose(1, 2)
        t, s = torch.full((1, 1, 1), (step + 1) / n), torch.full((1, 1, 1), step / n)
        ours = path.posterior(data, torch.nn.functional.one_hot(x, entries + 1).float(), t, s)
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_unmasking_is_maskgits() -> None:
    """Which tokens are unmasked when, as diffusers' AmusedScheduler does: a prediction that changes with what is visible, all but sure."""
    from diffusers import AmusedScheduler

    entries, tokens, steps = 5, 16, 4

    def probabilities(codes: torch.Tensor) -> torch.Tensor:
        """Of each token, by how many are visible: one entry in a thousand draws is another."""
        seen = int((codes < entries).sum())
        generator = torch.Generator().manual_seed(seen)
        sure = 1 - 1e-4 * torch.rand(1, tokens, 1, generator=generator)
        chosen = torch.nn.functional.one_hot(torch.randint(0, entries, (1, tokens), generator=generator), entries)
        return sure * chosen + (1 - sure) * (1 - chosen) / (entries - 1)

    scheduler = AmusedScheduler(mask_token_id=entries, masking_schedule="linear")
    scheduler.set_timesteps(steps, temperature=(0, 0))
    codes, path = torch.full((1, tokens), entries), Masked()
    solver, x = Unmask(), torch.eye(entries + 1)[codes]
    memory = solver.memory(x)
    noise = path.prior(
        vocabulary(path, entries), torch.randn(1, tokens, entries + 1, generator=torch.Generator().manual_seed(0)), x[..., 0] == 0
    )
    for step, (t, s) in zip(scheduler.timesteps, pairwise(Uniform().times(steps, path).float()), strict=True):
        codes = scheduler.step(probabilities(codes).log(), step, codes, generator=torch.Generator().manual_seed(1)).prev_sample
        move = Move(path, t.expand(1, 1, 1), s.expand(1, 1, 1), x[:, :1, :0], lambda draw, purpose="": noise if draw == 0 else 0 * noise)
        moving = solver.step(x, memory, move)
        asked = next(moving).x.argmax(-1)
        data = torch.nn.functional.pad(probabilities(asked), (0, 1))
        with pytest.raises(StopIteration) as stop:
            moving.send(torch.where(x[..., -1:] == 1, data, x))
        x, memory = stop.value.value
        assert torch.equal(x.argmax(-1), codes)
    assert codes.max() < entries


def test_uniform_tokens_are_the_argmax_of_gaussian_ones() -> None:
    """The diffusion duality: argmax(a x0 + sqrt(1 - a^2) z) has a uniform-state marginal, of the share that its transform gives."""
    entries, a, n = 4, 0.6, 200_000
    z = torch.randn(n, entries, generator=torch.Generator().manual_seed(0))
    x0 = torch.eye(entries)[0]
    counted = torch.bincount((a * x0 + (1 - a**2) ** 0.5 * z).argmax(-1), minlength=entries) / n
    grid = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    density = torch.exp(-((grid - a / (1 - a**2) ** 0.5) ** 2) / 2) / (2 * math.pi) ** 0.5
    first = torch.trapezoid(density * torch.special.ndtr(grid) ** (entries - 1), grid)
    share = float((entries * first - 1) / (entries - 1))
    t = torch.full((1, 1, 1), 1 - share)
    marginal = UniformState().forward(x0.expand(1, 1, -1), 0 * t, t)[0, 0]
    torch.testing.assert_close(counted, marginal, atol=5e-3, rtol=0)


# --- tokenizers -------------------------------------------------------------------------------------------------------

Y, X = AxisSpec(name="y", unit="px"), AxisSpec(name="x", unit="px")


def pictures(*shapes: tuple[int, ...], levels: int = 9) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, levels, shape, generator=generator).float() / (levels - 1) * 2 - 1 for shape in shapes]


ONE_HOT = "one-hot tokens and bits have no scale"
SMALL = AutoencoderConfig(inner=GridConfig(patch=(2, 2)), width=16, heads=2, depth=1, latent=3)
SHAPES = ((4, 4, 1), (4, 6, 1), (2, 4, 1), (6, 4, 1))
TOKENIZERS = {
    "levels of cells": TokenizerCase(
        LevelsConfig(inner=GridConfig(patch=(1, 1)), levels=9), pictures(*SHAPES), axes=(Y, X), sizes={4: 16},
        bad=[torch.zeros(4, 4), torch.full((4, 4, 1), torch.nan), "text"], unnormalised=ONE_HOT,
    ),
    "levels of patches, to the uniform prior": TokenizerCase(
        LevelsConfig(inner=GridConfig(patch=(2, 2)), levels=9, prior="uniform"), pictures(*[(4, 4, 1)] * 30), axes=(Y, X),
        bad=[torch.zeros(3, 4, 1)], unnormalised=ONE_HOT,
    ),
    "levels of latents": TokenizerCase(
        LevelsConfig(inner=SMALL, levels=8), pictures(*SHAPES), axes=(Y, X), bad=[torch.zeros(3, 4, 1)], unnormalised=ONE_HOT,
        round_trip=None,
    ),
    "bits of cells": TokenizerCase(
        BitsConfig(inner=GridConfig(patch=(2, 2)), bits=4), pictures(*SHAPES), axes=(Y, X), bad=[torch.zeros(3, 4, 1)],
        unnormalised=ONE_HOT,
    ),
    "gray, analog bits of a set": TokenizerCase(
        BitsConfig(inner=SetConfig(), bits=3, analog=True, gray=True), pictures((3, 2), (5, 2), (1, 2), (4, 2)), sizes={6: 6},
        bad=[torch.zeros(2, 3)], permute=lambda sample, order: sample[order], unnormalised=ONE_HOT,
    ),
    "labels": TokenizerCase(LabelConfig(classes=4), ["b", "a", "d", "c"], bad=["z", 2.5], unnormalised=ONE_HOT),
}  # fmt: skip


class TestDiscreteTokenizers(TokenizerContract):
    @pytest.fixture(scope="class", params=TOKENIZERS.values(), ids=TOKENIZERS)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> TokenizerCase:
        return request.param


def test_values_of_as_many_levels_come_back_exactly() -> None:
    samples = pictures(*[(4, 4, 1)] * 12)
    for config in (LevelsConfig(inner=GridConfig(patch=(2, 2)), levels=9), LevelsConfig(inner=GridConfig(patch=(1, 1)), levels=9)):
        tokenizer = config.build(samples[0], (Y, X))
        tokenizer.fit(samples)
        for sample_, back in zip(samples, tokenizer.decode(tokenizer.encode(samples)), strict=True):
            torch.testing.assert_close(back, sample_, atol=1e-6, rtol=0)
        assert tokenizer.specs[0].width == 10
        assert tokenizer.encode(samples)["tokens"].values[..., -1].sum() == 0, "the mask is a level"


def test_gray_code_changes_one_bit_a_level() -> None:
    samples = [torch.linspace(-1, 1, 16)[:, None, None]] * 4
    codes = {}
    for gray in (True, False):
        tokenizer = BitsConfig(inner=GridConfig(patch=(1, 1)), bits=4, gray=gray).build(samples[0], (Y, X))
        tokenizer.fit(samples)
        codes[gray] = tokenizer.encode(samples[:1])["tokens"].values[0]
    assert codes[True].diff(dim=0).abs().sum(1).tolist() == [1.0] * 15
    assert codes[False].diff(dim=0).abs().sum(1).max() == 4
    assert codes[False][5].tolist() == [0.0, 1.0, 0.0, 1.0]


def test_what_cannot_be_rounded_is_refused() -> None:
    with pytest.raises(ValueError, match=r"makes 2 tokens of each element, and in a set nothing would tell.*use 'bits'"):
        LevelsConfig(inner=SetConfig()).build(torch.zeros(3, 2))
    inner = LevelsConfig(inner=GridConfig(patch=(1, 1)))
    with pytest.raises(ValueError, match="'bits' rounds one stream of numbers; 'levels' makes \\['categorical'\\]"):
        BitsConfig(inner=inner).build(torch.zeros(4, 4, 1), (Y, X))
    label = LabelConfig(classes=2).build("a")
    with pytest.raises(ValueError, match="there are 3 classes, the tokenizer 'label' has 2: raise its `classes`"):
        label.fit(["a", "b", "c"])


# --- together ---------------------------------------------------------------------------------------------------------


def mixed() -> tuple[Denoiser, list[dict]]:
    """A denoiser of pictures as numbers and their labels as masked tokens, with weights that do something."""
    samples = [{"picture": picture, "label": name} for picture, name in zip(pictures(*[(4, 4, 1)] * 4), "abca", strict=True)]
    config = JointConfig(parts={"picture": GridConfig(patch=(2, 2)), "label": LabelConfig(classes=3)})
    tokenizer = config.build(samples[0], {"picture": (Y, X), "label": ()})
    tokenizer.fit(samples)
    backbone = DiTConfig(depth=1, width=16, heads=2).build(tokenizer.specs, cross=False)
    corruptions = {"picture": Corruption(Rectified(), "velocity"), "label": Corruption(Masked(), "logits")}
    denoiser = Denoiser(backbone, Conditions(16, {}), corruptions)
    shaken(denoiser, size=0.3)
    state = tokenizer.encode(samples, torch.arange(4))
    return denoiser.eval(), [state, tokenizer]


OBJECTIVE = Objective(
    path=Rectified(), streams={"label": StreamObjective(path=Masked(), prediction="logits", times=UniformTimes())}, given=0.3, absent=0.2
)


def test_numbers_and_tokens_are_trained_together() -> None:
    """One loss of both streams, by row; its gradient reaches both readouts."""
    denoiser, (state, _) = mixed()
    assert OBJECTIVE.refusals(denoiser.specs) == []
    condition = denoiser.conditions([{}] * 4)
    loss = sum(OBJECTIVE.loss(denoiser, state, condition, step) for step in range(8))
    assert loss.isfinite().all()
    loss.sum().backward()
    for name in ("picture", "label"):
        assert denoiser.backbone.readout[name].weight.grad.abs().max() > 0
    with torch.no_grad():
        alone = torch.cat([OBJECTIVE.loss(denoiser, state.select([row]), condition.select(torch.tensor([row])), 3) for row in range(4)])
        together = OBJECTIVE.loss(denoiser, state, condition, 3)
    torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-4)


def test_numbers_and_tokens_are_made_together() -> None:
    """Each stream by its own solver; a given label stays; rows alone are as in their batch."""
    denoiser, (state, tokenizer) = mixed()
    layout = tokenizer.layout(torch.tensor([5, 6, 7]))
    sampling = Sampling(steps=4, solver=DDIM(), streams={"label": StreamSampling(solver=Unmask())})
    with torch.no_grad():
        both = sample(denoiser, Request(layout, denoiser.conditions([{}] * 3), sampling))[0]
        alone = sample(denoiser, Request(layout.select([2]), denoiser.conditions([{}]), sampling))[0]
    assert set(both["label"].values.flatten().tolist()) == {0.0, 1.0}
    assert (both["label"].values[..., :3].sum(-1) == 1).all(), "a label is the mask"
    torch.testing.assert_close(alone["picture"].values, both["picture"].values[2:], atol=1e-4, rtol=0)
    assert torch.equal(alone["label"].values, both["label"].values[2:])
    assert {made["label"] for made in tokenizer.decode(both)} <= set("abc")
    given = layout.with_values({"label": state["label"].values[:3]}).with_kept("label", layout["label"].mask)
    with torch.no_grad():
        kept = sample(denoiser, Request(given, denoiser.conditions([{}] * 3), sampling))[0]
    assert [made["label"] for made in tokenizer.decode(kept)] == ["a", "b", "c"]


def test_what_does_not_suit_is_refused_by_name() -> None:
    denoiser, _ = mixed()

    def refused(solver: Solver) -> str:
        return "; ".join(Sampling(solver=solver).refusals(denoiser, null=False))

    assert "solver 'euler' moves along Gaussian paths, not 'masked'" in refused(Euler())
    assert "solver 'unmask' needs the path 'masked' without `replaced`, where unmasked tokens are final; given 'rectified'" in refused(
        Unmask()
    )
    assert "solver 'tau-leaping' draws tokens on discrete paths (masked, uniform-state, bernoulli), not on 'rectified'" in refused(
        TauLeaping()
    )
    assert "leave `remask` at 0" in (AncestralDiscrete(remask=1).supports(UniformState()) or "")
    assert "predicts logits or data, given 'velocity'" in Objective(path=Masked()).refusals([vocabulary(Masked(), 3)])[0]
    spec = StreamSpec(name="s", kind="categorical", width=3, prior="uniform")
    assert (
        Masked().refuses(spec)
        == "path 'masked' carries categorical tokens to the prior 'mask'; stream 's' is categorical and asks for 'uniform'"
    )
    with pytest.raises(ValidationError):
        Masked(replaced=1.0)
