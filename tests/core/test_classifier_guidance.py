"""A classifier of noised tokens: against Bayes' rule, as a course, and what guidance by it does to rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import trained

from anylatent.conditioners.base import Conditions
from anylatent.corrections.classifier import ClassifierFunction, ClassifierGuidance
from anylatent.corrections.energy import EnergyGuidance
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.energies import FunctionEnergy
from anylatent.engine import Engine, Request
from anylatent.generation import RowGenerator, gathered
from anylatent.measurements.base import Layout
from anylatent.moment import Here
from anylatent.objective import LogitNormalTimes, Nearest, Objective
from anylatent.paths import EDM, Cosine, Rectified
from anylatent.paths.base import GaussianPath
from anylatent.paths.vocabulary import Masked
from anylatent.perception.token_classifier import NOT_ASKED, TokenClassifier, classes_of
from anylatent.sampling import Sampling
from anylatent.solvers.ddim import DDIM
from anylatent.spec import StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.backbones import random_state, shaken, two_stream_specs
from anylatent.testing.corrections import CorrectionCase, CorrectionContract
from anylatent.testing.guidance import here_at
from anylatent.testing.oracles import MixtureOracle
from anylatent.training.config import Training
from anylatent.training.courses import ClassifierCourse, at_all_times
from anylatent.training.latents import Latents
from anylatent.training.order import Order

NAMES = ["left", "up", "down"]
MEANS = torch.tensor([[[1.5, 0.0]] * 4, [[-1.0, 1.0]] * 4, [[-1.0, -1.0]] * 4])


def mixture() -> MixtureOracle:
    return MixtureOracle(Rectified(), torch.tensor([0.5, 0.25, 0.25]), MEANS, torch.full((3,), 0.6))


def bayes(oracle: MixtureOracle, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """p(component | x_t) `(B, 3)`; `t` `(B, #N, 1)`."""
    alpha, sigma = oracle.gaussian.alpha(t)[:, None], oracle.gaussian.sigma(t)[:, None]
    variance = (alpha * oracle.stds[None, :, None, None]) ** 2 + sigma**2
    square = (x[:, None] - alpha * oracle.means[None]).square() / (2 * variance) + 0.5 * variance.log()
    return (oracle.weights.log() - square.sum((2, 3))).softmax(1)


def by_component(oracle: MixtureOracle, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """E[x0 | x_t, component] `(B, 3, N, C)`; `t` `(B, #N, 1)`."""
    alpha, sigma = oracle.gaussian.alpha(t)[:, None], oracle.gaussian.sigma(t)[:, None]
    stds, means = oracle.stds[None, :, None, None], oracle.means[None]
    return means + alpha * stds**2 / ((alpha * stds) ** 2 + sigma**2) * (x[:, None] - alpha * means)


def drawn(oracle: MixtureOracle, rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    which = torch.multinomial(oracle.weights, rows, replacement=True, generator=generator)
    return oracle.means[which] + oracle.stds[which, None, None] * torch.randn(rows, 4, 2, generator=generator), which


def untrained(specs: tuple[StreamSpec, ...], path: Any = None, classes: int = 3, seed: int = 0) -> TokenClassifier:
    torch.manual_seed(seed)
    backbone = DiTConfig(depth=1, width=32, heads=2).build(specs, False)
    prediction = "logits" if isinstance(path, Masked) else "data"
    return TokenClassifier(backbone, {spec.name: Corruption(path or Rectified(), prediction) for spec in specs}, NAMES[:classes])


def random_classifier(specs: tuple[StreamSpec, ...], seed: int = 0) -> TokenClassifier:
    """One whose weights do something."""
    classifier = untrained(specs, seed=seed)
    shaken(classifier, seed, size=0.1)
    return classifier.eval().requires_grad_(False)


def latents_of(x: torch.Tensor, sizes: torch.Tensor | None = None) -> Latents:
    """One stream of sequences such as the mixture's; `sizes`: how many of the tokens each sample has."""
    sizes = torch.full((len(x),), x.shape[1]) if sizes is None else sizes
    mask = torch.arange(x.shape[1])[None] < sizes[:, None]
    places = torch.arange(x.shape[1], dtype=torch.float32)[None, :, None].expand(len(x), -1, -1)
    starts = torch.cat((sizes.new_zeros(1), sizes.cumsum(0)))
    return Latents({"tokens": {"values": x[mask], "positions": places[mask]}}, {"tokens": starts})


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> TokenClassifier:
    """Trained on samples of the mixture by the trainer that trains everything."""
    oracle, (x, which) = mixture(), drawn(mixture(), 2000)
    classifier = untrained(oracle.specs)
    course = ClassifierCourse("component", classifier, latents_of(x), which, Objective())
    training = Training(steps=60, batch=96, learning_rate=1e-2, warmup=10, decay="cosine", checkpoint=200, log=50, ema=())
    trained(course, training, tmp_path_factory.mktemp("learnt"))
    return classifier.eval().requires_grad_(False)


def rows_at(oracle: MixtureOracle, x: torch.Tensor, t: float) -> State:
    layout = oracle.layout(range(len(x)))
    return layout.with_values({"tokens": x}).with_time({"tokens": torch.full(x.shape[:2], t)})


# ------------------------------------------------------------------------------------------------------- against the truth


def test_a_trained_classifier_is_nearly_bayes_rule(learnt: TokenClassifier) -> None:
    """Total variation to p(component | x_t), mean over x_t, at times from clean tokens to noise."""
    oracle = mixture()
    for t in (0.0, 0.2, 0.4, 0.6, 0.8, 0.99):
        x0, _ = drawn(oracle, 500, seed=1)
        x = oracle.gaussian.corrupt(x0, torch.randn(x0.shape, generator=torch.Generator().manual_seed(2)), torch.tensor(t))
        with torch.no_grad():
            told = learnt(rows_at(oracle, x, t)).exp()
        exact = bayes(oracle, x, torch.full((len(x), 1, 1), t))
        apart = 0.5 * (told - exact).abs().sum(1).mean()
        prior = 0.5 * (oracle.weights - exact).abs().sum(1).mean()
        assert apart < 0.08, f"{apart:.3f} at t = {t}"
        assert t > 0.9 or prior > 3 * apart, "it is more than the prior"


def test_the_right_classifier_makes_each_tokens_conditional_prediction() -> None:
    """Tokens at times of their own; those of which less than 0.02 is left stay as they are, whatever a classifier says of them."""
    oracle = mixture()
    t = torch.tensor([[0.97, 0.5, 0.1, 0.9], [1.0, 0.3, 0.99, 0.6], [1.0, 1.0, 0.985, 1.0]])[..., None]
    x = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    odds, each = bayes(oracle, x, t), by_component(oracle, x, t)
    data = (odds[..., None, None] * each).sum(1)
    wanted, shift = torch.tensor([[0.0], [1.0], [2.0]]), torch.linspace(1, 2, 3)

    def knows(x: torch.Tensor, time: torch.Tensor, layout: Layout) -> torch.Tensor:
        errs = x[:, :1, :1].flatten(1) * shift * (t[:, :1, 0] == 1)  # of tokens that are noise
        return bayes(oracle, x, t).log() + errs

    made = ClassifierFunction(classifier=knows).correct(data, here_at(Rectified(), x, t, measured={"class": wanted}))
    own, faint = each[torch.arange(3), wanted[:, 0].long()], (t > 0.98).expand(made.shape)
    torch.testing.assert_close(made[~faint], own[~faint], atol=1e-3, rtol=1e-3)
    assert torch.equal(made[faint], data[faint])
    assert (own - data)[faint].abs().max() > 0.3, "which the right one would have changed"


def test_rows_become_of_the_class_that_they_are_asked(learnt: TokenClassifier) -> None:
    """By the exact class of what was made: without guidance a quarter, with it nearly all; those not asked stay as they were."""
    oracle = mixture()

    def made(scale: float, asked: list[dict[str, Any]]) -> torch.Tensor:
        sampling = Sampling(steps=16, solver=DDIM(), batch=512, corrections=(ClassifierGuidance(condition="component", scale=scale),))
        generator = RowGenerator(NotTold(), sampling, False, classifiers={"component": learnt})
        return generator(oracle.layout(range(len(asked))), asked)["tokens"].values

    half: list[dict[str, Any]] = [{"component": "up"}, {}] * 128
    plain, guided = made(0, half), made(2, half)
    clean = torch.zeros(len(half), 1, 1)
    share = [float((bayes(oracle, x, clean).argmax(1) == 1)[::2].float().mean()) for x in (plain, guided)]
    assert 0.15 < share[0] < 0.35
    assert share[1] > 0.94
    assert torch.equal(plain[1::2], guided[1::2])


class NotTold(MixtureOracle):
    """The mixture, which knows no condition."""

    def __init__(self) -> None:
        known = mixture()
        super().__init__(Rectified(), known.weights, known.means, known.stds, groups={})


def test_the_slope_is_the_gradient_of_what_it_says() -> None:
    """By finite differences, jointly over two streams; 0 in rows that are left out, in padding, and nothing else is touched."""
    classifier, state = random_classifier(two_stream_specs()), random_state(two_stream_specs(), [4, 3, 4])
    wanted, rows = torch.tensor([2, 0, 1]), torch.tensor([True, True, False])
    slopes = classifier.slopes(state, wanted, rows)
    assert set(slopes) == {"field", "cloud"}
    for name, slope in slopes.items():
        assert not slope[2].any()
        assert not slope[1, 3].any()
        way = torch.randn(slope.shape, generator=torch.Generator().manual_seed(3))
        up, down = (
            classifier(state.with_values({name: state[name].values + size * way})).gather(1, wanted[:, None])[:2].sum()
            for size in (1e-2, -1e-2)
        )
        torch.testing.assert_close((slope * way).sum(), (up - down) / 2e-2, atol=1e-3, rtol=1e-2)
        assert slope.abs().max() > 1e-4


def test_a_row_is_classified_alone_as_together() -> None:
    classifier = random_classifier(two_stream_specs())
    state = random_state(two_stream_specs(), [6, 3, 5])
    together = classifier(state)
    torch.testing.assert_close(together.exp().sum(1), torch.ones(3))
    for row in range(3):
        torch.testing.assert_close(classifier(state.select([row]).trimmed())[0], together[row], atol=1e-5, rtol=0)
    told = state.with_told({name: stream.values for name, stream in state.streams.items()})
    assert torch.equal(classifier(told), together), "what a denoiser said is nothing to it"


# ------------------------------------------------------------------------------------------------------------- as a course


@pytest.mark.parametrize("objective", [Objective(), Objective(path=Cosine(), completion=0.6), Objective(coupling=Nearest())], ids=str)
def test_a_rows_loss_is_its_own(objective: Objective) -> None:
    """Alone and beside longer rows, at a time and with noise of its own; samples of no known class are not learnt from."""
    x, which = drawn(mixture(), 12)
    which[3] = which[7] = NOT_ASKED
    classifier = untrained(mixture().specs, objective.path)
    shaken(classifier, size=0.1)
    sizes = torch.tensor([4, 2, 3] * 4)
    course = ClassifierCourse("component", classifier, latents_of(x, sizes), which, objective)
    assert (course.name, course.count) == ("classifier component", 10)
    indices = torch.arange(10)
    seeds = Order(10, 5).seeds(indices)
    with torch.no_grad():
        together, numbers = course(indices, seeds, 3)
        alone = torch.cat([course(indices[i : i + 1], seeds[i : i + 1], 3)[0] for i in range(10)])
        later, _ = course(indices, seeds, 4)
        sure = course(indices, seeds, 3)[0] < torch.tensor(0.5).log().neg()
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-4)
    assert torch.isclose(later, together).float().mean() < 0.2, "each step draws anew (a row may be given whole in both)"
    assert sure.float().mean() <= float(numbers["accuracy"]) <= 1
    course(indices, seeds, 3)[0].sum().backward()
    assert all(p.grad is not None for p in classifier.parameters()), "nothing is left that does not learn"


@pytest.mark.parametrize("path", [Rectified(), Cosine(), EDM()], ids=lambda path: path.kind)
def test_no_time_is_left_out(path: GaussianPath) -> None:
    """The angle arctan(sigma / alpha) is uniform, whatever the path is and whichever times the denoiser learns."""
    spec = mixture().specs[0]
    x, _ = drawn(mixture(), 2000)
    noised, _ = at_all_times(Objective(path=path, times=LogitNormalTimes(), prediction="data"), (spec,)).corrupt(
        latents_of(x).batch(torch.arange(2000), torch.arange(2000)), untrained((spec,), path), 0
    )
    t = noised["tokens"].time[:, 0].double()
    angle = torch.atan2(path.sigma(t), path.alpha(t)) / (torch.pi / 2)
    inside = angle[t < 0.99999]
    assert (inside.sort().values - torch.linspace(0, float(inside.max()), len(inside))).abs().max() < 0.04
    assert len(inside) > 1950


def test_tokens_of_a_vocabulary_are_noised_as_their_path_does() -> None:
    spec = StreamSpec(name="tokens", width=4, order="sequence", prior="mask")  # three symbols, and the mask
    path = Masked()
    clean = State.of({"tokens": Stream.of(torch.eye(4)[torch.arange(3).expand(50, -1)])}, range(50))
    noised, _ = at_all_times(Objective(path=path, prediction="logits"), (spec,)).corrupt(clean, untrained((spec,), path), 0)
    hidden = (noised["tokens"].values != clean["tokens"].values).any(-1)
    assert 0.3 < hidden.float().mean() < 0.7
    assert ClassifierGuidance(condition="label").supports(path) == "correction 'classifier' adds a score on Gaussian paths, not 'masked'"


# ------------------------------------------------------------------------------------------------------------- what rows do

KNOWN = random_classifier(mixture().specs)
ASKS = ClassifierGuidance(condition="component", scale=2.0)


PREDICTED = ClassifierGuidance(condition="component", scale=2.0, sees="predicted", marginal=0.5)


class TestGuidance(CorrectionContract):
    @pytest.fixture(scope="class", params=[ASKS, PREDICTED], ids=lambda asks: asks.sees)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> CorrectionCase:
        neutral = request.param.model_copy(update={"scale": 0.0})
        return CorrectionCase(request.param, neutral, classifiers={"component": KNOWN})


def finished(sampling: Sampling, asked: list[dict[str, Any]], batch: int = 64):
    generator = RowGenerator(NotTold(), sampling.model_copy(update={"batch": batch}), False, classifiers={"component": KNOWN})
    layout = mixture().layout(range(len(asked)))
    done = sorted(generator.stream(layout, asked), key=lambda each: each.row)
    return gathered(done, layout).state["tokens"].values, [each.receipts for each in done]


def test_backward_passes_are_counted_for_the_rows_that_ask() -> None:
    asked: list[dict[str, Any]] = [{"component": "up"}, {}, {"component": "left"}, {"component": None}]
    _, receipts = finished(Sampling(steps=4, corrections=(ASKS,)), asked)
    assert [row.get("classifier", {}).get("gradients", 0) for row in receipts] == [4, 0, 4, 0]
    assert [row.get("classifier", {}).get("changed", 0) for row in receipts] == [3, 0, 3, 0], "nothing is left to be told at t = 1"
    assert all(row["engine"] == receipts[0]["engine"] for row in receipts), "the denoiser is not asked more, nor differentiated"
    late = ASKS.model_copy(update={"interval": (0.0, 0.6)})
    _, receipts = finished(Sampling(steps=4, corrections=(late,)), asked)
    assert [row.get("classifier", {}).get("gradients", 0) for row in receipts] == [2, 0, 2, 0], "at t = 0.5 and 0.25 alone"


def test_shown_what_is_predicted_it_is_an_energy_of_that() -> None:
    """-log p(class | predicted clean tokens), differentiated through the denoiser, as the correction `energy` does it."""
    oracle, times = mixture(), {"interval": (0.0, 0.95)}  # where nearly nothing of the data is left, `energy` guesses

    def surprise(x: torch.Tensor, layout: Layout) -> torch.Tensor:
        return -KNOWN(rows_at(oracle, x, 0.0))[:, 1]

    energy = EnergyGuidance(energy=FunctionEnergy(function=surprise), scale=2.0, interval=times["interval"])
    asks = ClassifierGuidance(condition="component", scale=2.0, sees="predicted", interval=times["interval"])
    made, receipts = zip(
        *(finished(Sampling(steps=5, corrections=(each,)), [{"component": "up"}] * 3) for each in (energy, asks)), strict=True
    )
    torch.testing.assert_close(made[1], made[0], atol=1e-4, rtol=1e-4)
    assert receipts[0][0]["engine"] == receipts[1][0]["engine"], "the denoiser's backward passes are counted as for any other"
    assert receipts[1][0]["engine"]["gradients"] == receipts[1][0]["classifier"]["gradients"] == 4


@pytest.mark.parametrize("noised", [False, True])
def test_several_predicted_streams_are_shown_together(noised: bool) -> None:
    """The gradient by each stream's noised tokens of log p(class | predictions of all), by finite differences; given tokens as given.

    `noised`: the denoiser is shown given tokens noised like all others, and predicts them too; the classifier is shown what was given.
    """
    denoiser, classifier = two_streams(), random_classifier(two_stream_specs())
    state = random_state(two_stream_specs(), [4, 4])
    keep = torch.zeros(2, 4, dtype=torch.bool)
    keep[0, 1] = True
    state = state.with_kept("field", keep)
    found: dict[str, torch.Tensor] = {}

    class Looking(ClassifierGuidance, kind="test-looking"):
        def slope(self, here: Here, active: torch.Tensor) -> torch.Tensor:
            found.setdefault(here.spec.name, super().slope(here, active))
            found.setdefault(f"{here.spec.name} x", here.x.detach())
            found.setdefault(f"{here.spec.name} t", here.t)
            return super().slope(here, active)

    sampling = Sampling(steps=2, solver=DDIM(), corrections=(Looking(condition="kind", sees="predicted"),))
    generator = RowGenerator(denoiser, sampling, noised, classifiers={"kind": classifier})
    generator(state, [{"kind": "up"}] * 2, begin=0.7)
    given, free = state["field"].values, state.with_kept("field", keep & (not noised))
    if noised:
        given = Rectified().corrupt(given, state.noise("field", -1, 0), torch.tensor(0.7))

    def told(name: str, way: torch.Tensor) -> torch.Tensor:
        x = {each: found[f"{each} x"] + (way if each == name else 0) for each in ("field", "cloud")}
        x["field"] = torch.where(keep[..., None], given, x["field"])
        times = {each: found[f"{each} t"][..., 0].expand(2, 4) for each in x}
        clean = denoiser(free.with_values(x).with_time(times), denoiser.conditions([{}] * 2))
        clean["field"] = torch.where(keep[..., None], state["field"].values, clean["field"])
        return classifier(state.with_values(clean).with_time({each: torch.zeros(2, 4) for each in x}))[:, 1].sum()

    for name in ("field", "cloud"):
        way = torch.randn(state[name].values.shape, generator=torch.Generator().manual_seed(3)) * (~state[name].keep)[..., None]
        way = way - way.mean(1, keepdim=True) if name == "cloud" else way
        difference = (told(name, 1e-2 * way) - told(name, -1e-2 * way)) / 2e-2
        torch.testing.assert_close((found[name] * way).sum(), difference, atol=1e-3, rtol=2e-2)
        assert difference.abs() > 1e-3


@pytest.mark.parametrize("noised", [False, True])
def test_predictions_are_shown_from_the_first_step_on(noised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At time 0, where they are of pure noise too; given tokens as they were given, absent streams as the denoiser sees them."""
    denoiser, classifier = two_streams(), random_classifier(two_stream_specs())
    heard, said, shown = [], [], []
    forward, slopes = denoiser.forward, classifier.slopes
    monkeypatch.setattr(denoiser, "forward", lambda state, *rest: heard.append(state) or said.append(forward(state, *rest)) or said[-1])
    monkeypatch.setattr(classifier, "slopes", lambda state, *rest: shown.append(state) or slopes(state, *rest))
    state = random_state(two_stream_specs(), [4, 4])
    absent, keep = torch.tensor([[0.0], [1.0]]).expand(2, 4), torch.zeros(2, 4, dtype=torch.bool)
    keep[:, 1] = True
    state = state.with_time({"field": torch.zeros(2, 4), "cloud": absent}).with_kept("field", keep)
    correction = ClassifierGuidance(condition="kind", sees="predicted")
    generator = RowGenerator(
        denoiser, Sampling(steps=2, solver=DDIM(), corrections=(correction,)), noised, classifiers={"kind": classifier}
    )
    generator(state, [{"kind": "up"}] * 2)
    assert [float(each["field"].time.max()) for each in heard] == [1.0, 0.5]
    for asked, data, seen in zip(heard, said, shown, strict=True):
        assert not seen["field"].time.any()
        assert torch.equal(seen["field"].values[:, 1], state["field"].values[:, 1])
        assert torch.equal(seen["field"].values[~keep], data["field"][~keep].detach())
        assert torch.equal(seen["cloud"].time, absent)
        assert torch.equal(seen["cloud"].values[0], data["cloud"][0].detach())
        assert torch.equal(seen["cloud"].values[1], asked["cloud"].values[1].detach())


def test_less_of_the_sum_of_all_classes_can_be_taken_off() -> None:
    classifier, state = random_classifier(two_stream_specs()), random_state(two_stream_specs(), [4, 3])
    rows, wanted = torch.tensor([True, True]), torch.tensor([2, 0])
    none, half, whole = (classifier.slopes(state, wanted, rows, share)["field"] for share in (0.0, 0.5, 1.0))
    values = state["field"].values.clone().requires_grad_()
    (own,) = torch.autograd.grad(classifier.logits(state.with_values({"field": values})).gather(1, wanted[:, None]).sum(), values)
    torch.testing.assert_close(none, own)
    torch.testing.assert_close(half, (none + whole) / 2)
    assert not torch.allclose(none, whole)


def test_two_corrections_ask_once_where_both_are_at_work() -> None:
    _, receipts = finished(Sampling(steps=4, corrections=(ASKS, ASKS)), [{"component": "up"}])
    assert receipts[0]["classifier"]["gradients"] == 4


def test_rows_of_several_requests_share_a_batch() -> None:
    """Those that are asked a class, and those that are not, in any batch."""
    asked: list[dict[str, Any]] = [{"component": "up"}, {}, {"component": "left"}, {"component": "down"}, {}]
    sampling = Sampling(steps=4, corrections=(ASKS,))
    together, _ = finished(sampling, asked)
    apart, _ = finished(sampling, asked, batch=2)
    torch.testing.assert_close(apart, together, atol=1e-5, rtol=0)


def two_streams() -> Denoiser:
    specs = two_stream_specs()
    torch.manual_seed(0)
    backbone = DiTConfig(depth=1, width=32, heads=2).build(specs, False)
    denoiser = Denoiser(backbone, Conditions(32, {}), {spec.name: Corruption(Rectified(), "data") for spec in specs})
    shaken(denoiser, size=0.1)
    return denoiser.eval().requires_grad_(False)


def test_streams_are_guided_together() -> None:
    """One backward pass for both; what is given of one moves the other."""
    specs, denoiser = two_stream_specs(), two_streams()
    sampling = Sampling(steps=3, solver=DDIM(), corrections=(ClassifierGuidance(condition="kind", scale=3.0),))
    generator = RowGenerator(denoiser, sampling, False, classifiers={"kind": random_classifier(specs)})
    empty = random_state(specs, [4, 4]).map(lambda stream: replace(stream, time=torch.zeros_like(stream.time)))
    done = list(generator.stream(empty, [{"kind": "up"}, {"kind": "up"}]))
    assert [each.receipts["classifier"] for each in done] == [{"gradients": 3.0, "changed": 4.0}] * 2, "of two streams; not at t = 1"
    for shift in (0.0, 1.0):
        given = empty.with_values({"field": empty["field"].values + shift}).with_kept("field", empty["field"].mask)
        made = generator(given, [{"kind": "up"}, {"kind": "up"}])
        assert torch.equal(made["field"].values, given["field"].values)


# -------------------------------------------------------------------------------------------------------------- what is refused


def test_a_classifier_that_is_not_there_is_refused() -> None:
    request = Request(mixture().layout([0]), mixture().conditions.null(1), Sampling(corrections=(ASKS,)))
    with pytest.raises(ValueError, match="a correction asks the classifier of 'component': this engine and request have none"):
        Engine(mixture()).add(request)
    with pytest.raises(ValueError, match=r"condition 'component': there is no class 'north'; the training set has left, up, down"):
        finished(Sampling(steps=2, corrections=(ASKS,)), [{"component": "north"}])


def test_classes_are_told_from_what_is_none() -> None:
    assert classes_of(["b", 2, None, 10, "a", 2]) == [2, 10, "a", "b"]
    with pytest.raises(ValueError, match=r"expected classes, whole numbers or names: a record has 0\.5"):
        classes_of([1, 0.5])
    with pytest.raises(ValueError, match="expected two classes or more to tell apart: the training set has 7"):
        classes_of([7, None, 7])


def test_a_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Bit for bit."""
    x, which = drawn(mixture(), 40)
    training = Training(steps=6, batch=8, warmup=2, checkpoint=2, log=1, ema=(0.9,))

    def course() -> ClassifierCourse:
        return ClassifierCourse("component", untrained(mixture().specs), latents_of(x), which, Objective())

    trained(course(), training, tmp_path / "whole")
    trained(course(), training, tmp_path / "stopped", stop=3)
    trained(course(), training, tmp_path / "stopped")
    for file in (tmp_path / "whole" / "checkpoints" / "00000006").glob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "stopped" / "checkpoints" / "00000006" / file.name).read_bytes()
