import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anylatent.conditioners.base import Conditions
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.engine import Engine, Request, sample
from anylatent.guidance.base import Guidance
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.guidance.none import Unguided
from anylatent.guidance.without_streams import WithoutStreams
from anylatent.paths.cosine import Cosine
from anylatent.sampling import Sampling
from anylatent.solvers.ddim import DDIM
from anylatent.spec import StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.backbones import shaken
from anylatent.testing.guidance import GuidanceContract, here_at
from anylatent.testing.oracles import MixtureOracle


class TestClassifierFree(GuidanceContract):
    @pytest.fixture(
        scope="class", params=[ClassifierFree(scale=2.5), ClassifierFree(scale=2.5, interval=(0.3, 0.8))], ids=["whole", "interval"]
    )
    @classmethod
    def guidance(cls, request: pytest.FixtureRequest) -> Guidance:
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls) -> Guidance:
        return ClassifierFree(scale=1.0, interval=(0.3, 0.8))


@given(scale=st.floats(0, 8), t=st.floats(0.05, 0.95))
def test_the_rule_is_the_same_on_data_and_on_noise(scale: float, t: float) -> None:
    path, guidance = Cosine(), ClassifierFree(scale=scale)
    time = torch.full((1, 1, 1), t, dtype=torch.float64)
    x, asked, null = torch.randn(3, 1, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    here = here_at(path, x, time)
    combined = guidance.combine({"asked": asked, "null": null}, here)
    noises = {"asked": path.to_noise(asked, x, time), "null": path.to_noise(null, x, time)}
    torch.testing.assert_close(path.to_noise(combined, x, time), guidance.combine(noises, here), atol=1e-9, rtol=1e-9)


def test_scale_0_is_unconditional() -> None:
    oracle = MixtureOracle(Cosine(), torch.ones(2) / 2, torch.tensor([[[3.0]], [[-3.0]]]), torch.full((2,), 0.1))
    request = Request(
        oracle.layout(range(200)),
        oracle.conditions([{"component": 0}] * 200),
        Sampling(guidance=ClassifierFree(scale=0.0)),
        oracle.conditions.null(200),
    )
    engine = Engine(oracle, rows=200)
    engine.add(request)
    values = torch.cat([done.state["tokens"].values for done in engine.stream()])
    assert 60 < int((values > 0).sum()) < 140


def test_guidance_that_needs_a_null_is_refused_without_one() -> None:
    oracle = MixtureOracle.gauss(Cosine(), torch.zeros(1, 1), 1.0)
    with pytest.raises(ValueError, match="guidance 'classifier-free' needs a condition"):
        Engine(oracle).add(Request(oracle.layout([0]), oracle.conditions([{}]), Sampling(guidance=ClassifierFree(scale=2.0))))


@pytest.mark.parametrize("interval", [(0.5, 0.5), (0.8, 0.2), (-0.1, 0.5), (0.0, 1.5)])
def test_an_interval_must_increase_within_0_and_1(interval: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="two increasing times between 0"):
        ClassifierFree(interval=interval)


class TestWithoutStreams:
    """Of two streams; a denoiser whose weights do something."""

    @pytest.fixture(scope="class")
    @classmethod
    def denoiser(cls) -> Denoiser:
        torch.manual_seed(0)
        specs = (StreamSpec(name="a", width=3), StreamSpec(name="b", width=2))
        backbone = DiTConfig(depth=1, width=32, heads=2).build(specs, False)
        denoiser = Denoiser(backbone, Conditions(32, {}), {spec.name: Corruption(Cosine(), "velocity") for spec in specs})
        shaken(denoiser, size=0.1)
        return denoiser.eval().requires_grad_(False)

    def _request(self, denoiser: Denoiser, guidance: Guidance, rows: list[int]) -> Request:
        state = State.of({"a": Stream.of(torch.zeros(3, 4, 3)), "b": Stream.of(torch.ones(3, 2, 2))}, [4, 5, 6])
        state = state.with_kept("b", torch.tensor([[True], [False], [True]]).expand(3, 2)).select(rows)
        return Request(state, denoiser.conditions.null(len(rows)), Sampling(steps=5, solver=DDIM(), guidance=guidance))

    def test_neutral_is_exact_and_rows_are_alone_together(self, denoiser: Denoiser) -> None:
        plain, unguided = sample(denoiser, self._request(denoiser, Unguided(), [0, 1, 2]))
        neutral, same = sample(denoiser, self._request(denoiser, WithoutStreams(scale=1, absent=("b",)), [0, 1, 2]))
        assert torch.equal(plain["a"].values, neutral["a"].values)
        assert same["engine"].counts == unguided["engine"].counts
        guided, twice = sample(denoiser, self._request(denoiser, WithoutStreams(scale=3, absent=("b",)), [0, 1, 2]))
        assert twice["engine"].counts["network_calls"] == 2 * unguided["engine"].counts["network_calls"]
        assert (guided["a"].values - plain["a"].values).abs().amax((1, 2)).min() > 1e-4
        assert torch.equal(guided["b"].values[0], plain["b"].values[0]), "a given stream stays"
        for row in range(3):
            alone, _ = sample(denoiser, self._request(denoiser, WithoutStreams(scale=3, absent=("b",)), [row]))
            torch.testing.assert_close(alone["a"].values[0], guided["a"].values[row], atol=1e-5, rtol=0)

    def test_it_is_the_rule_by_hand(self, denoiser: Denoiser) -> None:
        """DDIM's steps with two questions each: as asked, and with the given stream's prior at time 1."""
        request = self._request(denoiser, WithoutStreams(scale=2.5, absent=("b",)), [0])
        made, _ = sample(denoiser, request)
        path, state, none = Cosine(), request.state, denoiser.conditions.null(1)
        prior = path.corrupt(torch.zeros(1, 2, 2), state.noise("b", -1, 0), torch.ones(1, 1, 1))
        times = Sampling(steps=5).schedule.times(5, path, path.start("velocity"))
        x = path.corrupt(torch.zeros(1, 4, 3), state.noise("a", -1, 0), times[0].float().view(1, 1, 1))
        for t, s in zip(times[:-1].float(), times[1:].float()):
            at = state.with_values({"a": x}).with_time({"a": t.expand(1, 4), "b": torch.zeros(1, 2)})
            gone = at.with_kept("b", torch.zeros(1, 2, dtype=torch.bool)).with_values({"b": prior}).with_time({"b": torch.ones(1, 2)})
            asked, without = denoiser(at, none)["a"], denoiser(gone, none)["a"]
            data = without + 2.5 * (asked - without)
            if s == 0:
                x = data
            else:
                noise = path.to_noise(data, x, t.view(1, 1, 1))
                x = path.corrupt(data, noise, s.view(1, 1, 1))
        torch.testing.assert_close(made["a"].values, x, atol=1e-4, rtol=1e-4)

    def test_streams_that_are_not_there_are_refused(self, denoiser: Denoiser) -> None:
        with pytest.raises(ValueError, match=r"names the streams \['c'\]: the tokenizer makes \['a', 'b'\]"):
            sample(denoiser, self._request(denoiser, WithoutStreams(absent=("c",)), [0]))
        with pytest.raises(ValueError, match="leaves no stream to guide"):
            sample(denoiser, self._request(denoiser, WithoutStreams(absent=("a", "b")), [0]))
