"""Guidance against closed forms, other people's implementations, and rules written out by hand."""

import itertools
import math
from typing import Any

import pytest
import torch

from anylatent.conditioners.base import Conditions
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.engine import Engine, Request
from anylatent.generation import RowGenerator, gathered
from anylatent.guidance.base import Branch, Guidance
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.guidance.compose import Compose, Entry
from anylatent.guidance.densities import followed, remembered
from anylatent.guidance.none import Unguided
from anylatent.guidance.per_condition import ConditionScale, PerCondition
from anylatent.guidance.perturbed import Perturbed
from anylatent.guidance.plus_plus import PlusPlus
from anylatent.guidance.regions import Region, Regions, Span
from anylatent.guidance.rules.linear import LinearRule
from anylatent.guidance.rules.projected import Projected
from anylatent.guidance.rules.rescaled import Rescaled
from anylatent.guidance.rules.tangential import Tangential
from anylatent.guidance.rules.zero_star import ZeroStar
from anylatent.guidance.self_attention import SelfAttention
from anylatent.guidance.sum import Sum
from anylatent.guidance.timed import Annealing
from anylatent.guidance.windows import Window, Windows
from anylatent.hooks.perturb_attention import PerturbAttention
from anylatent.hooks.skip_blocks import SkipBlocks
from anylatent.moment import Moment
from anylatent.nn.blur import blurred
from anylatent.nn.sites import Context, Heads, Mix, Site, Sites
from anylatent.paths.cosine import Cosine
from anylatent.paths.rectified import Rectified
from anylatent.sampling import Sampling
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.heun import Heun
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.backbones import shaken
from anylatent.testing.guidance import GuidedTransformer, here_at
from anylatent.testing.oracles import MixtureOracle
from anylatent.types import Tensor


def made(denoiser: Any, guidance: Guidance, asked: dict[str, Any], rows: int, steps: int, solver: Solver) -> State:
    generator = RowGenerator(denoiser, Sampling(steps=steps, guidance=guidance, solver=solver, batch=rows), noised=False)
    state = denoiser.layout(range(rows))
    return gathered(list(generator.stream(state, [asked] * rows)), state).state


# ------------------------------------------------------------------------------------------------- Gaussians

STD = 0.8
MEANS = torch.tensor([[0.2, -0.3], [0.6, 0.1], [0.0, 0.5], [-0.5, 0.4]])[:, None]
"""Of e(), e(x), e(y), e(x, y): one token each."""


def gaussians() -> MixtureOracle:
    """Every combination of the conditions x and y selects one Gaussian: that of the greatest weight among those left."""
    weights = torch.tensor([1.0, 1e-12, 1e-12, 1e-24])
    return MixtureOracle(Cosine(), weights, MEANS, torch.full((4,), STD), {"x": [[1, 3]], "y": [[2, 3]]})


def scaled(rule: Any, x: float, y: float) -> PerCondition:
    return PerCondition(scales=(ConditionScale(condition="x", scale=x), ConditionScale(condition="y", scale=y)), rule=rule)


E, X, Y, XY = MEANS


@pytest.mark.parametrize(
    ("guidance", "mean"),
    [
        (ClassifierFree(scale=2.5), E + 2.5 * (XY - E)),
        (ClassifierFree(scale=2.5, against={"x": 0, "y": None}), X + 2.5 * (XY - X)),
        (scaled("chain", 2.0, 3.0), E + 2 * (X - E) + 3 * (XY - X)),
        (scaled("apart", 2.0, 3.0), E + 2 * (X - E) + 3 * (Y - E)),
        (scaled("without", 2.0, 3.0), XY + 1 * (XY - Y) + 2 * (XY - X)),
        (Compose(entries=(Entry(without=("x",), weight=2), Entry(without=("y",), weight=0.5))), E + 2 * (Y - E) + 0.5 * (X - E)),
        (Compose(entries=(Entry(without=("x",), weight=3), Entry(without=("y",))), rule="mean"), 0.75 * Y + 0.25 * X),
        (Sum(terms=(ClassifierFree(scale=1.5), ClassifierFree(scale=2.0, against={"x": 0, "y": None}))), XY + 0.5 * (XY - E) + (XY - X)),
        (Regions(regions=(Region(where=(Span(axis="i"),), without=("x",)),), inner=ClassifierFree(scale=2.0)), E + 2 * (Y - E)),
        (Regions(regions=(Region(where=(Span(axis="i"),), without=("x",)),), background=1.0), (Y + XY) / 2),
    ],
    ids=["classifier-free", "against", "chain", "apart", "without", "product", "mean", "sum", "regions", "background"],
)
def test_linear_guidance_of_gaussians_of_one_width_is_the_gaussian_at_the_extrapolated_mean(guidance: Guidance, mean: Tensor) -> None:
    """Their scores differ by constants: sampling goes the very way that it goes with the guided Gaussian's own denoiser."""
    guided = made(gaussians(), guidance, {"x": 0, "y": 0}, 6, 5, DDIM())
    expected = made(MixtureOracle.gauss(Cosine(), mean, STD), Unguided(), {}, 6, 5, DDIM())
    torch.testing.assert_close(guided["tokens"].values, expected["tokens"].values, atol=1e-4, rtol=0)


def test_a_product_follows_its_score_and_is_not_the_product() -> None:
    """N(0.5, 0.5) and N(-0.1, 0.5) over N(0, 1): the composed flow is affine; its end is integrated here in double, finely.

    The product is N(0.23, 0.38). What the composed score leads to is narrower, N(0.28, 0.25): noised densities of a
    product are not products of noised densities.
    """
    means, stds = torch.tensor([0.0, 0.5, -0.1]), torch.tensor([1.0, 0.5, 0.5])
    oracle = MixtureOracle(Cosine(), torch.tensor([1.0, 1e-30, 1e-30]), means[:, None, None], stds)
    guidance = Compose(entries=(Entry(ask={"component": 1}), Entry(ask={"component": 2})))
    state = made(oracle, guidance, {}, 6, 40, Heun())
    path = Cosine()

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = path.alpha(t), path.sigma(t)
        data = [m + alpha * s**2 / (alpha**2 * s**2 + sigma**2) * (x - alpha * m) for m, s in zip(means.double(), stds.double())]
        return path.velocity(data[1] + data[2] - data[0], x, t)

    x = oracle.layout(range(6)).noise("tokens", -1, 0).double()
    times = torch.linspace(1, 1e-4, 400, dtype=torch.float64)
    for t, s in itertools.pairwise(times):
        half = (t + s) / 2
        k1 = velocity(x, t)
        k2 = velocity(x + (s - t) / 2 * k1, half)
        k3 = velocity(x + (s - t) / 2 * k2, half)
        x = x + (s - t) / 6 * (k1 + 2 * k2 + 2 * k3 + velocity(x + (s - t) * k3, s))
    torch.testing.assert_close(state["tokens"].values.double(), x, atol=6e-3, rtol=0)
    noise = oracle.layout(range(6)).noise("tokens", -1, 0).double().flatten()
    width = float((x.flatten()[1] - x.flatten()[0]) / (noise[1] - noise[0]))
    middle = float(x.flatten()[0] - width * noise[0])
    precision = 2 / 0.5**2 - 1
    assert (round(0.4 / 0.5**2 / precision, 2), round(precision**-0.5, 2)) == (0.23, 0.38), "the product"
    assert (round(middle, 2), round(width, 2)) == (0.28, 0.25), "the composition"


# ------------------------------------------------------------------------------------------------- mixtures


def two_modes(path: Any) -> MixtureOracle:
    return MixtureOracle(path, torch.tensor([0.5, 0.5]), torch.tensor([[[0.7], [0.2]], [[-0.5], [0.4]]]), torch.tensor([0.4, 0.6]))


@pytest.mark.parametrize("path", [Cosine(), Rectified()], ids=["cosine", "rectified"])
def test_densities_are_followed(path: Any) -> None:
    """Along ancestral steps of one of two Gaussians: to the exact log-ratio of their densities, as steps become fine."""
    oracle, rows = two_modes(path), 64
    generator = torch.Generator().manual_seed(0)
    errors = []
    for steps in (60, 240):
        times = torch.linspace(0.999, 0.05, steps + 1)
        x = torch.randn(rows, 2, 1, generator=generator)
        memory, densities = remembered(x, 2), torch.zeros(rows, 2)
        for i, (t, s) in enumerate(zip(times, [*times[1:], None])):
            time = t.expand(rows, 1, 1)
            parts = torch.stack([oracle.posterior_mean(x, time, chosen.expand(rows, 2)) for chosen in torch.eye(2)], 1)
            here = here_at(path, x, time, memory=memory)
            moment = Moment(here.moment.time, torch.full((rows,), i), here.moment.steps)
            densities = followed(parts, type(here)(**{**vars(here), "moment": moment}))
            if s is None:
                break
            alpha_t, sigma_t, alpha_s, sigma_s = path.alpha(t), path.sigma(t), path.alpha(s), path.sigma(s)
            kept = alpha_t / alpha_s
            spread = (sigma_t**2 - kept**2 * sigma_s**2).sqrt()
            mean = kept * sigma_s**2 / sigma_t**2 * x + alpha_s * spread**2 / sigma_t**2 * parts[:, 0]
            x = mean + spread * sigma_s / sigma_t * torch.randn(x.shape, generator=generator)

        def exact(k: int, x: Tensor = x, t: Tensor = times[-1]) -> Tensor:
            variance = (path.alpha(t) * oracle.stds[k]) ** 2 + path.sigma(t) ** 2
            away = x - path.alpha(t) * oracle.means[k]
            return -(away**2 / (2 * variance) + variance.log() / 2).sum((1, 2))

        errors.append(float((densities[:, 0] - densities[:, 1] - exact(0) + exact(1)).abs().mean()))
    assert errors[1] < 0.1, "in nats; the log-ratio itself is 1 to 2"
    assert errors[1] < 0.7 * errors[0], "finer steps are not better: a strong order of 1/2 halves it"


def test_a_mixture_samples_its_entries_in_their_shares() -> None:
    means = torch.tensor([[[1.0], [1.0]], [[-1.0], [-1.0]]])
    oracle = MixtureOracle(Cosine(), torch.tensor([0.5, 0.5]), means, torch.full((2,), 0.3))
    guidance = Compose(entries=(Entry(ask={"component": 0}, weight=3), Entry(ask={"component": 1})), rule="mixture")
    values = made(oracle, guidance, {}, 400, 40, Ancestral())["tokens"].values
    first = values.mean((1, 2)) > 0
    assert abs(float(first.float().mean()) - 0.75) < 3 * (0.75 * 0.25 / 400) ** 0.5, "the share of the first entry"
    for here, k in ((first, 0), (~first, 1)):
        assert (values[here].mean(0) - means[k]).abs().max() < 0.1
        assert abs(float(values[here].std(0).mean()) - 0.3) < 0.05


# ------------------------------------------------------------------------------------------------- rules


def predictions(width: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    x, asked, weak = torch.randn(3, 4, 5, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x, asked, weak


SCALE = torch.full((4, 1, 1), 3.5, dtype=torch.float64)
TIME = torch.full((4, 1, 1), 0.6, dtype=torch.float64)


def test_rescaled_is_the_peers() -> None:
    from diffusers.guiders.guider_utils import rescale_noise_cfg

    x, asked, weak = predictions()
    mine = Rescaled(share=0.7).extend(asked, weak, SCALE, here_at(Cosine(), x, TIME))
    torch.testing.assert_close(mine, rescale_noise_cfg(weak + 3.5 * (asked - weak), asked, 0.7), atol=1e-6, rtol=1e-6)


def test_projected_is_the_peers() -> None:
    """Three questions in a row, with momentum; the peer's norm is over a row, mine its root mean square."""
    from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance

    x, asked, weak = predictions()
    rule, buffer = Projected(parallel=0.3, norm=0.9, momentum=-0.4), MomentumBuffer(-0.4)
    here = here_at(Cosine(), x, TIME, memory=rule.memory(x))
    for turn in range(3):
        theirs = normalized_guidance(asked + turn, weak, 2.5, buffer, 0.3, 0.9 * 15**0.5, use_original_formulation=True)
        torch.testing.assert_close(rule.extend(asked + turn, weak, SCALE, here), theirs, atol=1e-6, rtol=1e-6)


def test_zero_star_is_the_peers_on_velocities() -> None:
    from diffusers.guiders.classifier_free_zero_star_guidance import cfg_zero_star_scale

    x, asked, weak = predictions()
    path = Rectified()
    mine = ZeroStar().extend(asked, weak, SCALE, here_at(path, x, TIME))
    strong, away = (path.velocity(data, x, TIME) for data in (asked, weak))
    away = away * cfg_zero_star_scale(strong.flatten(1), away.flatten(1)).view(-1, 1, 1)
    torch.testing.assert_close(path.velocity(mine, x, TIME), away + 3.5 * (strong - away), atol=1e-5, rtol=1e-5)
    still = ZeroStar(still=1).extend(asked, weak, SCALE, here_at(path, x, TIME))
    torch.testing.assert_close(path.velocity(still, x, TIME), torch.zeros_like(x), atol=1e-9, rtol=0)


def test_tangential_is_the_peers_on_velocities() -> None:
    from diffusers.guiders.tangential_classifier_free_guidance import normalized_guidance

    x, asked, weak = predictions()
    path = Rectified()
    mine = Tangential().extend(asked, weak, SCALE, here_at(path, x, TIME))
    strong, away = (path.velocity(data, x, TIME).float() for data in (asked, weak))
    torch.testing.assert_close(path.velocity(mine, x, TIME).float(), normalized_guidance(strong, away, 3.5), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rule", [Rescaled(share=0), Tangential(damping=0), Projected(parallel=1, momentum=0)], ids=lambda rule: rule.kind)
def test_a_neutral_rule_is_the_linear_one(rule: Any) -> None:
    """Bit for bit; and its settings are those that it declares."""
    x, asked, weak = predictions()
    here = here_at(Cosine(), x, TIME)
    assert torch.equal(rule.extend(asked, weak, SCALE, here), LinearRule().extend(asked, weak, SCALE, here))
    assert rule.neutral is not None
    assert rule == type(rule)(**rule.neutral)


@pytest.mark.parametrize("rule", [Rescaled(), Tangential(), Projected(norm=0.2, momentum=0), ZeroStar()], ids=lambda rule: rule.kind)
def test_padding_and_given_tokens_have_no_say(rule: Any) -> None:
    """A rule's sums over a row are over what is made."""
    x, asked, weak = predictions()
    part = here_at(Cosine(), x[:, :3], TIME)
    expected = rule.extend(asked[:, :3], weak[:, :3], SCALE, part)
    whole = here_at(Cosine(), x, TIME)
    mask, keep = whole.mask.clone(), whole.keep.clone()
    mask[:, 4], keep[:, 3] = False, True
    found = rule.extend(asked, weak, SCALE, type(whole)(**{**vars(whole), "mask": mask, "keep": keep}))
    torch.testing.assert_close(found[:, :3], expected)


def test_plus_plus_is_a_ddim_step_with_the_nulls_noise() -> None:
    oracle = MixtureOracle(Cosine(), torch.ones(2) / 2, torch.tensor([[[1.0]], [[-1.0]]]), torch.full((2,), 0.5))
    values = made(oracle, PlusPlus(amount=0.7), {"component": 0}, 4, 6, DDIM())["tokens"].values
    path, state = Cosine(), oracle.layout(range(4))
    asked, null = oracle.conditions([{"component": 0}] * 4), oracle.conditions.null(4)
    times = Sampling(steps=6).schedule.times(6, path, path.start("data")).float()
    x = path.corrupt(torch.zeros(4, 1, 1), state.noise("tokens", -1, 0), times[0])
    for t, s in itertools.pairwise(times):
        at = state.with_values({"tokens": x}).with_time({"tokens": t.expand(4, 1)})
        strong, weak = oracle(at, asked)["tokens"], oracle(at, null)["tokens"]
        x = path.corrupt(weak + 0.7 * (strong - weak), path.to_noise(weak, x, t), s)
    torch.testing.assert_close(values, x, atol=2e-5, rtol=1e-4)


# ------------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize("shape", ["linear", "cosine", "power", "peak", "valley", "beta"])
@pytest.mark.parametrize("toward", ["data", "prior"])
def test_annealing_is_1_in_the_mean_and_strong_where_it_says(shape: Any, toward: Any) -> None:
    annealing = Annealing(shape=shape, toward=toward, power=3, beta=(2, 1.5))
    time = (torch.arange(10_000) + 0.5) / 10_000
    assert abs(float(annealing.at(time).mean()) - 1) < 1e-3
    ends = annealing.at(torch.tensor([0.001, 0.999]))
    if shape in ("linear", "cosine", "power"):
        assert bool(ends[0] > ends[1]) == (toward == "data")
    assert float(Annealing(shape=shape, floor=0.3).at(time).min()) >= 0.3


def test_an_annealed_scale_is_that_scale_at_its_time() -> None:
    x, asked, weak = predictions()
    here = here_at(Cosine(), x, TIME)
    found = ClassifierFree(scale=3, annealing=Annealing(shape="linear")).combine({"asked": asked, "null": weak}, here)
    torch.testing.assert_close(found, weak + (1 + 2 * 2 * 0.4) * (asked - weak))
    torch.testing.assert_close(
        PlusPlus(interval=(0.7, 1.0)).combine({"asked": asked, "null": weak}, here), asked, msg="outside of its interval it does nothing"
    )


# ------------------------------------------------------------------------------------------------- looking inside


class Own(Sites):
    """Attention replaced or watched by hand."""

    def __init__(self, how: str, block: int | None = None) -> None:
        self.how, self.block, self.received = how, block, torch.zeros(0)

    def around(self, site: Site, call: Any, x: Tensor, context: Context) -> Tensor:
        return x if self.how == "skip" and site == Site("block", 1) else call(x, context)

    def attend(self, site: Site, mix: Mix, heads: Heads, context: Context) -> Tensor:
        if self.block is not None and site.block != self.block:
            return mix(heads, context)
        match self.how:
            case "identity":
                return heads.v
            case "mean":
                return mix(heads._replace(q=heads.q.mean(2, keepdim=True).expand_as(heads.q)), context)
            case "blur":
                place = torch.arange(heads.q.shape[2]).float()
                weights = (-((place[:, None] - place) ** 2) / (2 * 1.5**2)).exp()
                return mix(heads._replace(q=weights / weights.sum(1, keepdim=True) @ heads.q), context)
            case "watch":
                self.received = ((heads.q @ heads.k.mT) * heads.q.shape[-1] ** -0.5).softmax(-1).mean(1).sum(1)
        return mix(heads, context)


def once(denoiser: GuidedTransformer, guidance: Guidance, x: Tensor) -> tuple[Tensor, State]:
    """The guided prediction at t = 0.6 (a step to t = 0 gives it back), and the state that was asked about."""
    state = denoiser.layout([0]).with_values({"tokens": x})
    request = Request(state, denoiser.conditions([{}]), Sampling(steps=1, guidance=guidance), denoiser.conditions.null(1), begin=0.6)
    engine = Engine(denoiser)
    engine.add(request)
    [done] = engine.stream()
    noisy = Rectified().corrupt(x, state.noise("tokens", -1, 0), torch.full((1, 1, 1), 0.6))
    return done.state["tokens"].values, state.with_values({"tokens": noisy}).with_time({"tokens": torch.full((1, 4), 0.6)})


@pytest.mark.parametrize(
    ("hook", "own"),
    [
        (PerturbAttention(), Own("identity")),
        (PerturbAttention(blocks=(2,)), Own("identity", 2)),
        (PerturbAttention(how="queries"), Own("mean")),
        (PerturbAttention(how="queries", sigma=1.5), Own("blur")),
        (SkipBlocks(blocks=(1,)), Own("skip")),
    ],
    ids=["identity", "one-block", "mean-query", "blurred-queries", "skipped"],
)
def test_a_perturbed_prediction_is_the_one_by_hand(hook: Any, own: Own) -> None:
    denoiser = GuidedTransformer()
    found, state = once(denoiser, Perturbed(scale=2.5, hook=hook), torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(2)))
    null = denoiser.conditions.null(1)
    asked, weak = denoiser(state, null)["tokens"], denoiser(state, null, own)["tokens"]
    assert (asked - weak).abs().max() > 1e-3
    torch.testing.assert_close(found, weak + 2.5 * (asked - weak), atol=1e-5, rtol=1e-4)


class Skipping(Guidance, kind="test-skipping"):
    """What is said without a block, in place of what is asked."""

    def hooks(self) -> tuple[SkipBlocks, ...]:
        return (SkipBlocks(blocks=(1,)),)

    def plan(self, moment: Moment) -> list[Branch]:
        return [Branch("asked", hooks=self.hooks())]


def test_terms_of_a_sum_do_not_hear_each_others_hooks() -> None:
    """asked + (skipped - asked) + 0.5 (skipped - asked): the first term's hook is in its own question only."""
    denoiser, x = GuidedTransformer(), torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    found, state = once(denoiser, Sum(terms=(Skipping(), Perturbed(hook=SkipBlocks(blocks=(1,)), scale=0.5))), x)
    none = denoiser.conditions.null(1)
    asked, skipped = denoiser(state, none)["tokens"], denoiser(state, none, Own("skip"))["tokens"]
    torch.testing.assert_close(found, asked + 1.5 * (skipped - asked), atol=1e-5, rtol=0)


@pytest.mark.parametrize("threshold", [1.0, 0.0], ids=["attended", "all"])
def test_self_attention_guidance_is_the_one_by_hand(threshold: float) -> None:
    """In noise, as the paper has it: noise + s (noise - noise of the blurred tokens)."""
    denoiser, path, t = GuidedTransformer(), Rectified(), torch.full((1, 1, 1), 0.6)
    x = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(2))
    found, state = once(denoiser, SelfAttention(scale=1.8, block=1, threshold=threshold, sigma=0.8), x)
    null, own, noisy = denoiser.conditions.null(1), Own("watch", 1), state["tokens"].values
    asked = denoiser(state, null, own)["tokens"]
    attended = own.received > threshold
    assert attended.any()
    assert bool(attended.all()) == (threshold == 0)
    place = torch.arange(4.0)
    weights = (-((place[:, None] - place) ** 2) / (2 * 0.8**2)).exp()
    smooth = weights / weights.sum(1, keepdim=True) @ asked
    noise = path.to_noise(asked, noisy, t)
    degraded = torch.where(attended[..., None], path.corrupt(smooth, noise, t), noisy)
    again = denoiser(state.with_values({"tokens": degraded}), null)["tokens"]
    guided = noise + 0.8 * (noise - path.to_noise(again, degraded, t))
    torch.testing.assert_close(found, path.convert(guided, "noise", noisy, t), atol=1e-5, rtol=1e-4)


def test_blurring_is_a_mean_over_valid_neighbours() -> None:
    x = torch.tensor([[[1.0], [3.0], [100.0]]])
    mask = torch.tensor([[True, True, False]])
    places = torch.tensor([[[0.0], [1.0], [2.0]]])
    assert blurred(x, None, mask, 1.0)[0, :2, 0].tolist() == [2, 2]
    near = math.exp(-0.5)
    torch.testing.assert_close(blurred(x, places, mask, 1.0)[0, 0, 0], torch.tensor((1 + 3 * near) / (1 + near)))


# ------------------------------------------------------------------------------------------------- windows


def test_windows_are_the_crops_by_hand() -> None:
    """8 tokens in windows of 4 that overlap by 2: crops whose coordinates begin at 0, averaged by hats; no more is computed."""
    denoiser, widths = GuidedTransformer(), []
    watching = denoiser.register_forward_pre_hook(lambda _, given: widths.append(given[0]["tokens"].shape[1]))
    state = denoiser.layout([4])
    x = torch.randn(1, 8, 3, generator=torch.Generator().manual_seed(2))
    guidance = Windows(windows=(Window(axis="i", size=4, overlap=2),))
    request = Request(state.with_values({"tokens": x}), denoiser.conditions([{}]), Sampling(steps=1, guidance=guidance), begin=0.6)
    engine = Engine(denoiser)
    engine.add(request)
    [done] = engine.stream()
    watching.remove()
    assert set(widths) == {4}, "tokens outside of a window are not in the batch"
    noisy = Rectified().corrupt(x, state.noise("tokens", -1, 0), torch.full((1, 1, 1), 0.6))
    total, weights, hat = torch.zeros_like(x), torch.zeros(1, 8, 1), torch.tensor([0.5, 1.5, 1.5, 0.5])[:, None]
    for first in (0, 2, 4):
        crop = denoiser.layout([0]).with_values({"tokens": noisy[:, first : first + 4]}).with_time({"tokens": torch.full((1, 4), 0.6)})
        total[:, first : first + 4] += hat * denoiser(crop, denoiser.conditions.null(1))["tokens"]
        weights[:, first : first + 4] += hat
    torch.testing.assert_close(done.state["tokens"].values, total / weights, atol=1e-5, rtol=1e-4)
    assert done.receipts["engine"]["network_calls"] == 3
    assert done.receipts["engine"]["tokens"] == 12, "a window sees its own tokens"


@pytest.mark.parametrize(("size", "overlap", "calls"), [(3, 1, 5), (4, 0, 2), (2.5, 1.25, 4), (8, 2, 1), (5, 4, 4)])
def test_windows_of_what_is_independent_change_nothing(size: float, overlap: float, calls: int) -> None:
    """Tokens of one Gaussian know nothing of each other; every token is in some window, and the last ends with the row."""
    oracle = MixtureOracle.gauss(Cosine(), torch.tensor([-0.4, 0.7]).expand(8, -1), 0.5)
    calls = math.ceil((8 - size) / (size - overlap) - 1e-3) + 1 if size < 8 else 1
    guidance = Windows(windows=(Window(axis="i", size=size, overlap=overlap),))
    before = oracle.calls
    windowed = made(oracle, guidance, {}, 2, 3, DDIM())
    assert oracle.calls - before == 2 * 3 * calls
    torch.testing.assert_close(windowed["tokens"].values, made(oracle, Unguided(), {}, 2, 3, DDIM())["tokens"].values)


def test_streams_on_one_axis_are_cut_alike_and_others_are_seen_by_all_windows() -> None:
    """8 tokens a second apart, 4 tokens two seconds apart, 2 without a place, in two windows of 4 seconds: crops by hand."""
    axis = AxisSpec(name="time", unit="s")
    specs = (
        StreamSpec(name="a", width=3, axes=(axis,)),
        StreamSpec(name="b", width=2, axes=(axis.model_copy(update={"step": 2.0}),)),
        StreamSpec(name="c", width=2),
    )
    torch.manual_seed(0)
    backbone = DiTConfig(depth=2, width=32, heads=2).build(specs, False)
    denoiser = Denoiser(backbone, Conditions(32, {}), {spec.name: Corruption(Rectified(), "velocity") for spec in specs})
    shaken(denoiser, size=0.1).eval().requires_grad_(False)
    sizes = {"a": (8, 3, 1.0), "b": (4, 2, 2.0), "c": (2, 2, None)}

    def streams(values: dict[str, Tensor]) -> State:
        found = {}
        for name, x in values.items():
            step = sizes[name][2]
            found[name] = Stream.of(x, None if step is None else step * torch.arange(x.shape[1], dtype=torch.float32)[None, :, None])
        return State.of(found)

    generator = torch.Generator().manual_seed(1)
    clean = {name: torch.randn(1, tokens, width, generator=generator) for name, (tokens, width, _) in sizes.items()}
    state, null = streams(clean), denoiser.conditions.null(1)
    guidance = Windows(windows=(Window(axis="time", size=4),))
    engine = Engine(denoiser)
    engine.add(Request(state, null, Sampling(steps=1, guidance=guidance), begin=0.6))
    [done] = engine.stream()
    noisy = {name: 0.4 * x + 0.6 * state.noise(name, -1, 0) for name, x in clean.items()}
    crops = []
    for k in range(2):
        crop = streams({"a": noisy["a"][:, 4 * k : 4 * k + 4], "b": noisy["b"][:, 2 * k : 2 * k + 2], "c": noisy["c"]})
        crops.append(denoiser(crop.with_time({name: torch.full(stream.shape[:2], 0.6) for name, stream in crop.streams.items()}), null))
    for name in ("a", "b"):
        torch.testing.assert_close(done.state[name].values, torch.cat([crop[name] for crop in crops], 1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(done.state["c"].values, (crops[0]["c"] + crops[1]["c"]) / 2, atol=1e-5, rtol=1e-4)


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Annealing(beta=(0.5, 1)), r"beta \[0.5, 1.0\] grows without bound"),
        (lambda: Span(axis="i", start=3, stop=2), "the span of axis 'i' from 3 to 2 is empty"),
        (lambda: Window(axis="i", size=2, overlap=2), "windows of 2 along 'i' that overlap by 2 get nowhere"),
        (lambda: Windows(windows=(Window(axis="i", size=2), Window(axis="i", size=3))), r"along \['i', 'i'\]: expected one an axis"),
        (
            lambda: Windows(windows=(Window(axis="i", size=2),), inner=SelfAttention()),
            "'windows' cannot have 'self-attention' inside, which asks in rounds",
        ),
        (
            lambda: Compose(entries=(Entry(),), inner=Sum(terms=(SelfAttention(),))),
            "'compose' cannot have 'sum' inside, which asks in rounds",
        ),
        (lambda: Compose(entries=(Entry(),), inner=Compose(entries=(Entry(),))), "cannot have another 'compose' inside"),
        (lambda: Compose(entries=(Entry(weight=-1), Entry()), rule="mean"), "the rule 'mean' counts every entry: expected weights above 0"),
        (
            lambda: scaled("chain", 1, 1).model_copy() and PerCondition(scales=(ConditionScale(condition="x", scale=1),) * 2),
            "expected each once",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_built(build: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build()


@pytest.mark.parametrize(
    ("guidance", "says"),
    [
        (Windows(windows=(Window(axis="u", size=2),)), r"'windows' goes along the axes \['u'\]: the streams have \['i'\]"),
        (Regions(regions=(Region(where=(Span(axis="u"),)),)), r"'regions' names the axis 'u': the streams have \['i'\]"),
        (Sum(terms=(Regions(regions=(Region(where=(Span(axis="u"),)),)),)), "names the axis 'u'"),
        (Perturbed(), r"guidance 'perturbed', by its hook 'perturb-attention' needs the sites \['attend'\]"),
        (SelfAttention(), "by its hook 'attention-received' needs the sites"),
        (Compose(entries=(Entry(model="weaker"),)), "guidance 'compose' asks the denoiser 'weaker'"),
    ],
    ids=["windows", "regions", "sum", "perturbed", "self-attention", "models"],
)
def test_what_does_not_suit_the_denoiser_is_refused_by_name(guidance: Guidance, says: str) -> None:
    oracle = gaussians()
    request = Request(oracle.layout([0]), oracle.conditions([{}]), Sampling(guidance=guidance), oracle.conditions.null(1))
    with pytest.raises(ValueError, match=says):
        Engine(oracle).add(request)


def test_conditions_that_the_denoiser_does_not_know_are_refused() -> None:
    oracle = gaussians()
    guidance = Regions(regions=(Region(where=(Span(axis="i"),), ask={"z": 1}),))
    with pytest.raises(ValueError, match=r"guidance 'regions' names the conditions \['z'\]: the denoiser knows x, y"):
        made(oracle, guidance, {}, 1, 2, DDIM())
