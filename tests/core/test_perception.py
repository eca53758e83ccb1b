"""What a denoiser knows, against what is known exactly."""

import math
import re
from typing import Any

import pytest
import torch

from anylatent.condition import Condition
from anylatent.conditioners.base import Conditions
from anylatent.conditioners.standard import ClassConfig
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.metrics.denoiser_knows import DiffusionClassifier, LikelihoodMetric
from anylatent.nn.sites import Site
from anylatent.paths import EDM, Bernoulli, Cosine, DiscretePath, Masked, Rectified, UniformState
from anylatent.paths.base import GaussianPath, Path, Prediction
from anylatent.perception.diffusion_classifier import denoising_errors
from anylatent.perception.features import correspondences, sample_features, token_features
from anylatent.perception.likelihood import Begin, begins, log_likelihood
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.backbones import shaken
from anylatent.testing.discrete import DiscreteOracle
from anylatent.testing.oracles import Label, MixtureOracle
from anylatent.types import Tensor

MEANS = torch.tensor([[[1.0, -0.5], [0.3, 0.2]], [[-0.8, 0.6], [0.0, -0.4]], [[0.2, 0.9], [-0.7, 0.5]]])
STDS = torch.tensor([0.4, 0.6, 0.5])
WEIGHTS = torch.tensor([0.5, 0.3, 0.2])


def _drawn(rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    which = torch.multinomial(WEIGHTS, rows, replacement=True, generator=generator)
    return MEANS[which] + STDS[which, None, None] * torch.randn(rows, 2, 2, generator=generator), which


def _components(x: Tensor) -> Tensor:
    """log p(x | component) `(rows, components)`, in closed form."""
    variance = STDS**2
    return -0.5 * (((x[:, None] - MEANS) ** 2).sum((2, 3)) / variance + 4 * (2 * math.pi * variance).log())


def _state(oracle: MixtureOracle, x: Tensor) -> State:
    return oracle.layout(range(len(x))).with_values({"tokens": x})


@pytest.mark.parametrize("path", [Rectified(), Cosine(), EDM()], ids=lambda path: path.kind)
def test_the_likelihood_of_a_mixture_is_within_1_percent(path: GaussianPath) -> None:
    oracle = MixtureOracle(path, WEIGHTS, MEANS, STDS)
    x, _ = _drawn(40)
    exact = (_components(x) + WEIGHTS.log()).logsumexp(1)
    found = log_likelihood(oracle, _state(oracle, x), oracle.conditions([{}] * 40), steps=30, exact=True, begin={})
    assert abs(float(found.nats.mean() - exact.mean())) < 0.01 * abs(float(exact.mean()))
    assert (found.nats - exact).abs().max() < 0.05
    assert torch.equal(found.numbers, torch.full((40,), 4.0))
    torch.testing.assert_close(found.bits_per_number, -found.nats / 4 / math.log(2))


def test_hutchinsons_estimate_has_the_exact_mean_and_is_a_rows_own() -> None:
    oracle = MixtureOracle(Rectified(), WEIGHTS, MEANS, STDS)
    x, _ = _drawn(30)
    condition = oracle.conditions([{}] * 30)
    exact = log_likelihood(oracle, _state(oracle, x), condition, steps=12, exact=True, begin={}).nats
    few, many = (log_likelihood(oracle, _state(oracle, x), condition, steps=12, probes=n, begin={}).nats - exact for n in (1, 16))
    assert abs(float(many.mean())) < 4 * float(many.std()) / math.sqrt(30)
    assert many.std() < 0.5 * few.std(), "16 probes have a quarter of the deviation of one"
    seventh = torch.tensor([7])
    alone = log_likelihood(oracle, _state(oracle, x).select(seventh), condition.select(seventh), steps=12, begin={}).nats - exact[7]
    torch.testing.assert_close(alone[0], few[7], atol=1e-4, rtol=0)


class _Erring(MixtureOracle):
    """Off by `error` times a wave of the tokens in what it predicts, as a network of its kind of prediction is."""

    error = 0.01

    def forward(self, state: State, condition: Condition, *rest: Any) -> dict[str, Tensor]:
        data, stream = super().forward(state, condition)["tokens"], state["tokens"]
        off = self.error / self.gaussian.sensitivity(self.corruptions["tokens"].prediction, stream.time[..., None])
        return {"tokens": data + off * (3 * stream.values + torch.arange(4.0).reshape(2, 2)).sin()}


def _erring(prediction: Prediction) -> tuple[_Erring, State, Tensor]:
    oracle = _Erring(Cosine(), WEIGHTS, MEANS, STDS)
    oracle.corruptions = {"tokens": Corruption(Cosine(), prediction)}
    x, _ = _drawn(150)
    return oracle, _state(oracle, x), (_components(x) + WEIGHTS.log()).logsumexp(1)


@pytest.mark.parametrize("prediction", GaussianPath.predictions)
def test_the_likelihood_of_a_network_that_errs_a_little_is_within_1_percent(prediction: Prediction) -> None:
    oracle, state, exact = _erring(prediction)
    condition = oracle.conditions([{}] * 150)
    begin = begins(oracle, state.select(range(100)), condition.select(torch.arange(100)))
    assert set(begin) == ({"tokens"} if prediction == "data" else set())
    found = log_likelihood(oracle, state, condition, steps=16, exact=True, begin=begin).nats
    assert abs(float((found - exact).mean())) < 0.01 * abs(float(exact.mean()))


def test_data_with_a_larger_error_have_a_likelihood_only_from_where_noise_hides_it() -> None:
    oracle, state, exact = _erring("data")
    oracle.error = 0.1
    condition = oracle.conditions([{}] * 150)
    begin = begins(oracle, state, condition)
    assert 0.1 < begin["tokens"].ratio < 1
    found = log_likelihood(oracle, state, condition, steps=16, probes=4, begin=begin).nats
    assert abs(float((found - exact).mean())) < 0.25 * abs(float(exact.mean()))
    without = log_likelihood(oracle, state, condition, steps=16, probes=4, begin={}).nats
    assert abs(float((without - exact).mean())) > abs(float(exact.mean())), "its error, taken for noise"
    seventh = torch.tensor([7])
    alone = log_likelihood(oracle, state.select(seventh), condition.select(seventh), steps=16, probes=4, begin=begin).nats
    torch.testing.assert_close(alone[0], found[7], atol=1e-3, rtol=1e-4)
    with pytest.raises(ValueError, match=r"stream 'tokens' is predicted as data.*give begin=begins_on\(denoiser, run"):
        log_likelihood(oracle, state, condition)


def test_the_bound_of_one_gaussian_is_its_density_wherever_the_flow_begins() -> None:
    """Its clean tokens, given noised ones, are normal around the prediction: nothing is lost but where the noise falls."""
    oracle = MixtureOracle.gauss(Cosine(), MEANS[0], 0.5)
    x, _ = _drawn(50)
    state, condition = _state(oracle, x), oracle.conditions([{}] * 50)
    exact = -0.5 * ((x - MEANS[0]).square().sum((1, 2)) / 0.25 + 4 * math.log(2 * math.pi * 0.25))
    for ratio in (0.05, 0.8):
        error = ratio * 0.5 / math.sqrt(ratio**2 + 0.25)
        found = log_likelihood(oracle, state, condition, steps=12, exact=True, begin={"tokens": Begin(ratio, error)}).nats
        torch.testing.assert_close(found, exact, atol=0.02, rtol=0.002)


def test_the_exact_divergence_asks_for_all_numbers_at_once() -> None:
    """A call a stage for the velocity, and one for the copies that each differentiate by a number, as many as the tokens at once allow."""
    oracle, calls = MixtureOracle(Rectified(), WEIGHTS, MEANS, STDS), []
    ask = oracle.forward
    oracle.forward = lambda state, *rest: calls.append(len(state)) or ask(state, *rest)
    log_likelihood(oracle, _state(oracle, _drawn(3)[0]), oracle.conditions([{}] * 3), steps=1, exact=True, begin={})
    assert calls == [3, 3 * 4] * 4


def test_the_exact_divergence_does_not_hang_on_how_many_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser, state = _network(), _ragged()
    condition = denoiser.conditions([{"label": 0}, {"label": 1}])
    whole = log_likelihood(denoiser, state, condition, steps=2, exact=True).nats
    monkeypatch.setattr("anylatent.perception.likelihood._AT_ONCE", 37)
    torch.testing.assert_close(log_likelihood(denoiser, state, condition, steps=2, exact=True).nats, whole, atol=1e-4, rtol=1e-5)


def test_the_likelihood_of_a_component_is_the_conditional_one() -> None:
    oracle = MixtureOracle(Cosine(), WEIGHTS, MEANS, STDS)
    x, which = _drawn(20)
    found = log_likelihood(
        oracle, _state(oracle, x), oracle.conditions([{"component": int(k)} for k in which]), steps=30, exact=True, begin={}
    )
    exact = _components(x).gather(1, which[:, None])[:, 0]
    torch.testing.assert_close(found.nats, exact, atol=0.03, rtol=0.01)


class _Centred(MixtureOracle):
    """One Gaussian in the subspace of tokens whose mean is 0."""

    def __init__(self) -> None:
        super().__init__(Rectified(), torch.ones(1), torch.zeros(1, 3, 2), torch.tensor([0.7]))
        self.backbone.specs = (self.specs[0].model_copy(update={"prior": "normal_centred", "order": "set"}),)


def test_a_centred_stream_has_a_density_in_its_subspace() -> None:
    oracle = _Centred()
    x = 0.7 * torch.randn(25, 3, 2, generator=torch.Generator().manual_seed(1))
    x = x - x.mean(1, keepdim=True)
    found = log_likelihood(oracle, _state(oracle, x), oracle.conditions([{}] * 25), steps=20, exact=True, begin={})
    exact = -0.5 * (x.square().sum((1, 2)) / 0.49 + 4 * math.log(2 * math.pi * 0.49))
    torch.testing.assert_close(found.nats, exact, atol=0.03, rtol=0.01)
    assert torch.equal(found.numbers, torch.full((25,), 4.0))


def test_padding_has_no_likelihood() -> None:
    denoiser, state = _network(), _ragged()
    condition = denoiser.conditions([{"label": 0}, {"label": 1}])
    both = log_likelihood(denoiser, state, condition, steps=4).nats
    short = state.select([1]).trimmed()
    assert short["tokens"].shape[1] < state["tokens"].shape[1]
    alone = log_likelihood(denoiser, short, condition.select(torch.tensor([1])), steps=4)
    torch.testing.assert_close(alone.nats[0], both[1], atol=1e-3, rtol=1e-3)
    assert float(alone.numbers) == 3 * 3


@pytest.mark.parametrize("path", [Rectified(), pytest.param(EDM(), marks=pytest.mark.slow)], ids=lambda path: path.kind)
def test_the_diffusion_classifier_is_bayes_rule(path: GaussianPath) -> None:
    """Errors weighted as a likelihood are minus log p(x | component), up to a constant; their lowest is the likeliest component."""
    oracle = MixtureOracle(path, WEIGHTS, MEANS, STDS)
    x, _ = _drawn(60)
    candidates = [{"component": k} for k in range(3)]
    errors = denoising_errors(oracle, _state(oracle, x), [{}] * 60, candidates, draws=256, weight="likelihood")
    exact = _components(x)
    relative, expected = -errors + errors[:, :1], exact - exact[:, :1]
    off = (relative - expected)[:, 1:]
    assert off.abs().mean() < 0.06 * expected[:, 1:].abs().mean(), "256 draws"
    assert (off.mean(0).abs() < 4 * off.std(0) / math.sqrt(60)).all(), "not in one direction"
    assert ((-errors).argmax(1) == exact.argmax(1)).float().mean() > 0.9
    plain = denoising_errors(oracle, _state(oracle, x), [{}] * 60, candidates, draws=64)
    assert (plain.argmin(1) == exact.argmax(1)).float().mean() > 0.75
    alone = denoising_errors(oracle, _state(oracle, x).select([5]), [{}], candidates, draws=64)
    torch.testing.assert_close(alone[0], plain[5], atol=1e-5, rtol=1e-5)


def test_the_classifier_counts_its_calls() -> None:
    oracle = MixtureOracle(Rectified(), WEIGHTS, MEANS, STDS)
    denoising_errors(oracle, _state(oracle, _drawn(7)[0]), [{}] * 7, [{"component": 0}, {"component": 2}], draws=5, batch=3)
    assert oracle.calls == 7 * 2 * 5


def _network() -> Denoiser:
    torch.manual_seed(0)
    spec = StreamSpec(name="tokens", width=3, axes=(AxisSpec(name="i", unit="1"),), order="sequence")
    conditions = Conditions(32, {"label": ClassConfig(slot="prepend").build(32, [0, 1, 2])})
    backbone = DiTConfig(depth=2, width=32, heads=2).build((spec,), False)
    denoiser = Denoiser(backbone, conditions, {"tokens": Corruption(Rectified(), "velocity")})
    shaken(denoiser, size=0.1)
    return denoiser.eval().requires_grad_(False)


def _ragged() -> State:
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    values = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)) * mask[..., None]
    positions = torch.arange(5.0)[None, :, None].expand(2, -1, -1)
    return State.of({"tokens": Stream.of(values, positions, mask)}, [3, 4])


@pytest.mark.parametrize("path", [Rectified(), EDM(), Masked()], ids=lambda path: path.kind)
def test_kept_tokens_are_shown_as_they_are(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To whatever looks at given rows: what they know of a row does not hang on the noise that its kept tokens would have."""
    denoiser, state = _network(), _ragged()
    if isinstance(path, DiscretePath):
        state = state.with_values({"tokens": torch.eye(3)[:2][torch.arange(5) % 2].expand(2, 5, 3) * state["tokens"].mask[..., None]})
        denoiser.backbone.specs = (denoiser.specs[0].model_copy(update={"kind": "categorical", "prior": "mask"}),)
    denoiser.corruptions = {"tokens": Corruption(path, "logits" if isinstance(path, DiscretePath) else "velocity")}
    keep = torch.tensor([[True, False, False, True, False], [False, True, False, False, False]])
    state, shown, ask = state.with_kept("tokens", keep), [], denoiser.forward
    monkeypatch.setattr(denoiser, "forward", lambda state, *rest: shown.append(state["tokens"]) or ask(state, *rest))
    condition = denoiser.conditions([{}, {}])
    asks = (
        lambda: denoising_errors(denoiser, state, [{}, {}], [{"label": 0}], draws=2),
        lambda: token_features(denoiser, state, [{}, {}], block=1, time=0.9),
        lambda: log_likelihood(denoiser, state, condition, steps=1),
    )
    for ask_it in asks:
        shown.clear()
        ask_it()
        for seen in shown:
            assert torch.equal(seen.values[keep], state["tokens"].values[keep])
            assert not seen.time[keep].any()
            assert (seen.time[~keep & seen.mask] > 0).all()
            assert not seen.values[~seen.mask].any()
        assert any((seen.values != state["tokens"].values).any() for seen in shown)


def test_features_are_the_tokens_after_a_block() -> None:
    """The last block's, read out, are the prediction; a row alone has the features that it has beside others."""
    denoiser, state = _network(), _ragged()
    features = token_features(denoiser, state, [{"label": 0}, {}], block=1, time=0.3)
    assert features.shape == (2, 5, 32)
    assert not features[1, 3:].any()
    alone = token_features(denoiser, state.select([1]).trimmed(), [{}], block=1, time=0.3)
    torch.testing.assert_close(alone[0], features[1, :3], atol=1e-5, rtol=0)
    assert (token_features(denoiser, state, [{"label": 0}, {}], block=0, time=0.3) - features).abs().max() > 1e-3
    means = sample_features(features, state["tokens"].mask)
    torch.testing.assert_close(means[1], features[1, :3].mean(0))
    index, cosine = correspondences(features[0], features[0].flip(0))
    assert index.tolist() == [4, 3, 2, 1, 0]
    torch.testing.assert_close(cosine, torch.ones(5))


@pytest.mark.parametrize("part", ["trunk", "block", "attention", "attend", "mlp"])
def test_features_are_read_at_any_site_that_a_backbone_names(part: str) -> None:
    denoiser, state = _network(), _ragged()
    features = token_features(denoiser, state, [{"label": 0}, {}], block=0, time=0.3, part=part)
    assert features.shape == (2, 5, 32)
    assert not features[1, 3:].any()
    assert features[1, :3].any()
    alone = token_features(denoiser, state.select([1]).trimmed(), [{}], block=0, time=0.3, part=part)
    torch.testing.assert_close(alone[0], features[1, :3], atol=1e-5, rtol=0)


def test_the_parts_of_a_block_make_what_comes_out_of_it() -> None:
    """Attention adds to what came in, the perceptron to that; and a head's mixing, through the output matrix and gate, is attention's."""
    denoiser, state = _network(), _ragged()
    read = {part: token_features(denoiser, state, [{}, {}], 1, 0.3, part=part) for part in ("block", "attention", "mlp", "attend")}
    before = token_features(denoiser, state, [{}, {}], 0, 0.3)
    torch.testing.assert_close(before + read["attention"] + read["mlp"], read["block"], atol=1e-5, rtol=0)
    torch.testing.assert_close(token_features(denoiser, state, [{}, {}], 0, 0.3, part="trunk"), read["block"], atol=1e-5, rtol=0)
    out = denoiser.get_submodule("backbone.blocks.1.attention.out")(read["attend"])[0]
    gates = read["attention"][0] / out
    torch.testing.assert_close(gates, gates[:1].expand_as(gates), atol=1e-3, rtol=1e-3)


def test_what_is_not_there_is_refused() -> None:
    denoiser, state = _network(), _ragged()
    with pytest.raises(ValueError, match="hook 'tap' names block 2: the denoiser has blocks 0 to 1"):
        token_features(denoiser, state, [{}, {}], block=2)
    with pytest.raises(ValueError, match="'tap' reads at a site 'head': those that 'DiTNetwork' names are attend, attention, block, cross"):
        token_features(denoiser, state, [{}, {}], block=0, part="head")
    oracle = MixtureOracle(Rectified(), WEIGHTS, MEANS, STDS)
    with pytest.raises(ValueError, match="'tap' reads at a site 'block': those that 'Opaque' names are none"):
        token_features(oracle, _state(oracle, _drawn(1)[0]), [{}], block=0)
    assert Site("block", 1) == ("block", 1)


def test_paths_that_neither_way_knows_are_refused_by_name() -> None:
    class Stepwise(Path, kind="test-stepwise"):
        pass

    denoiser, state = _network(), _ragged()
    denoiser.corruptions = {"tokens": Corruption(Stepwise(), "data")}
    with pytest.raises(ValueError, match=r"stream 'tokens'.* 'test-stepwise'.*likelihood"):
        log_likelihood(denoiser, state, denoiser.conditions([{}, {}]))
    with pytest.raises(ValueError, match=r"stream 'tokens'.* 'test-stepwise'.*diffusion classifier"):
        denoising_errors(denoiser, state, [{}, {}], [{"label": 0}])
    for metric in (LikelihoodMetric(), DiffusionClassifier(condition="label")):
        (problem,) = metric.unanswered(denoiser)
        assert problem.startswith(f"metric '{metric.kind}': stream 'tokens' is on the path 'test-stepwise'")


DISCRETE = [Masked(), Masked(replaced=0.2), UniformState(keeps="cosine"), Bernoulli()]


def _finite(path: DiscretePath, repeats: int) -> tuple[DiscreteOracle, State, Tensor]:
    """A finite set of rows of three tokens in two groups, each row several times, and which each is."""
    oracle = DiscreteOracle.random(path, tokens=3, width=3, count=6, groups=2)
    which = torch.arange(6).repeat(repeats)
    return oracle, oracle.layout(range(len(which))).with_values({"tokens": oracle.set[which]}), which


@pytest.mark.parametrize("path", DISCRETE, ids=lambda path: f"{path.kind}-{getattr(path, 'replaced', 0)}")
def test_the_likelihood_of_discrete_rows_is_exact(path: DiscretePath) -> None:
    """The bound of a denoiser that is right is the logarithm of the probability: in the mean, to what its draws scatter."""
    oracle, state, which = _finite(path, 40)
    rows = oracle.groups[which] == 0
    for chosen, asked, exact in (
        (state, {}, oracle.exact().log()[which]),
        (state.select(rows), {"component": 0}, oracle.exact(0).log()[which[rows]]),
    ):
        found = log_likelihood(oracle, chosen, oracle.conditions([asked] * len(exact)), steps=8)
        off = found.nats - exact
        assert abs(float(off.mean())) < 3.5 * float(off.std()) / len(off) ** 0.5 < 0.25
        assert torch.equal(found.numbers, torch.full((len(exact),), 9.0 if path.kind == "bernoulli" else 3.0))
    alone, together = (log_likelihood(oracle, state.select(index), oracle.conditions([{}] * len(index)), 8) for index in ([5], [4, 5]))
    torch.testing.assert_close(alone.nats, together.nats[1:])


@pytest.mark.slow
@pytest.mark.parametrize("path", DISCRETE, ids=lambda path: f"{path.kind}-{getattr(path, 'replaced', 0)}")
def test_the_likelihood_of_discrete_rows_is_within_1_percent(path: DiscretePath) -> None:
    oracle, state, which = _finite(path, 60)
    found = log_likelihood(oracle, state, oracle.conditions([{}] * 360), steps=160)
    assert float(found.nats.mean()) == pytest.approx(float(oracle.exact().log()[which].mean()), rel=0.01)


def test_the_likelihood_of_discrete_rows_is_of_what_is_not_given() -> None:
    """p(the others | the given token) = p(row) / p(given)."""
    oracle, state, which = _finite(Masked(), 60)
    state = state.with_kept("tokens", torch.tensor([True, False, False]).expand(360, -1))
    found = log_likelihood(oracle, state, oracle.conditions([{}] * 360), steps=8)
    alike = (oracle.set[:, None, 0] == oracle.set[None, :, 0]).all(-1).float()
    exact = (oracle.exact() / (alike @ oracle.exact())).log()[which]
    off = found.nats - exact
    assert abs(float(off.mean())) < 3.5 * float(off.std()) / 360**0.5 < 0.1
    assert torch.equal(found.numbers, torch.full((360,), 2.0))


@pytest.mark.parametrize("path", DISCRETE[::2], ids=lambda path: path.kind)
def test_the_diffusion_classifier_of_discrete_rows_is_bayes_rule(path: DiscretePath) -> None:
    """Half of the rows in both groups: errors are minus log p(row | group), infinite (nearly) in the group that a row is not in."""
    oracle = DiscreteOracle.random(path, tokens=3, width=3, count=8)
    groups = [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 6, 7]]
    oracle.conditions.named["component"] = Label(8, groups)
    oracle.groups = torch.arange(8)
    which = torch.arange(2, 6).repeat(30)
    state = oracle.layout(range(120)).with_values({"tokens": oracle.set[which]})
    candidates = [{"component": k} for k in range(2)]
    errors = denoising_errors(oracle, state, [{}] * 120, candidates, draws=32, weight="likelihood")
    exact = -torch.stack([(oracle.weights / oracle.weights[group].sum()).log()[which] for group in groups], 1)
    off = (errors - exact).mean(1)
    assert abs(float(off.mean())) < 3.5 * float(off.std()) / 120**0.5 < 0.13 * float(exact.mean())
    outside = oracle.layout(range(40)).with_values({"tokens": oracle.set[torch.tensor([0, 1, 6, 7]).repeat(10)]})
    for weight in ("noise", "likelihood"):
        found = denoising_errors(oracle, outside, [{}] * 40, candidates, draws=16, weight=weight)
        assert torch.equal(found.argmin(1), torch.tensor([0, 0, 1, 1]).repeat(10))


def test_a_likelihood_of_both_sorts_of_paths_is_refused() -> None:
    denoiser, state = _network(), _ragged()
    specs = (*denoiser.specs, StreamSpec(name="words", width=3, kind="categorical", prior="mask"))
    denoiser.backbone.specs = specs
    denoiser.corruptions["words"] = Corruption(Masked(), "logits")
    refused = r"\['words'\] are on discrete paths and \['tokens'\] on Gaussian ones: there is no likelihood"
    with pytest.raises(ValueError, match=refused):
        log_likelihood(denoiser, state, denoiser.conditions([{}, {}]))
    (problem,) = LikelihoodMetric().unanswered(denoiser)  # said before a run trains
    assert re.match(f"metric 'likelihood': streams {refused}", problem)
    assert not list(DiffusionClassifier(condition="label").unanswered(denoiser))
