from collections.abc import Sequence
from typing import Any

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


class TwoStreams(Denoiser):
    """A denoiser of two streams whose weights do something; it counts the rows that it is asked of."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        specs = (StreamSpec(name="tokens", width=3), StreamSpec(name="b", width=2))
        backbone = DiTConfig(depth=1, width=32, heads=2).build(specs, False)
        super().__init__(backbone, Conditions(32, {}), {spec.name: Corruption(Cosine(), "velocity") for spec in specs})
        shaken(self, size=0.1)
        self.eval().requires_grad_(False)
        self.calls = 0

    def layout(self, seeds: Sequence[int]) -> State:
        """Rows of 4 tokens; of the other stream the second of 2 is given in every other row."""
        rows = len(seeds)
        state = State.of({"tokens": Stream.of(torch.zeros(rows, 4, 3)), "b": Stream.of(torch.ones(rows, 2, 2))}, seeds)
        return state.with_kept("b", torch.tensor([[False, seed % 2 == 0] for seed in seeds]))

    def forward(self, state: State, *rest: Any) -> dict[str, torch.Tensor]:
        self.calls += len(state)
        return super().forward(state, *rest)


class TestWithoutStreams(GuidanceContract):
    """Of two streams: away from what is made without the other."""

    @pytest.fixture(scope="class")
    @classmethod
    def denoiser(cls) -> TwoStreams:
        return TwoStreams()

    @pytest.fixture(scope="class")
    @classmethod
    def guidance(cls) -> Guidance:
        return WithoutStreams(scale=3, absent=("b",))

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls) -> Guidance:
        return WithoutStreams(scale=1, absent=("b",))

    def _one(self, denoiser: TwoStreams, guidance: Guidance) -> Request:
        state = denoiser.layout([4])
        state = state.with_kept("b", torch.ones(1, 2, dtype=torch.bool))
        return Request(state, denoiser.conditions.null(1), Sampling(steps=5, solver=DDIM(), guidance=guidance))

    def test_the_absent_stream_itself_is_as_asked(self, denoiser: TwoStreams) -> None:
        plain, guided = (sample(denoiser, self._one(denoiser, each))[0] for each in (Unguided(), WithoutStreams(scale=3, absent=("b",))))
        assert torch.equal(guided["b"].values, plain["b"].values), "a given stream stays"
        assert (guided["tokens"].values - plain["tokens"].values).abs().max() > 1e-4

    def test_it_is_the_rule_by_hand(self, denoiser: TwoStreams) -> None:
        """DDIM's steps with two questions each: as asked, and with the given stream's prior at time 1."""
        request = self._one(denoiser, WithoutStreams(scale=2.5, absent=("b",)))
        made, _ = sample(denoiser, request)
        path, state, none = Cosine(), request.state, denoiser.conditions.null(1)
        prior = path.corrupt(torch.zeros(1, 2, 2), state.noise("b", -1, 0), torch.ones(1, 1, 1))
        times = Sampling(steps=5).schedule.times(5, path, path.start("velocity"))
        x = path.corrupt(torch.zeros(1, 4, 3), state.noise("tokens", -1, 0), times[0].float().view(1, 1, 1))
        for t, s in zip(times[:-1].float(), times[1:].float()):
            at = state.with_values({"tokens": x}).with_time({"tokens": t.expand(1, 4), "b": torch.zeros(1, 2)})
            gone = at.with_kept("b", torch.zeros(1, 2, dtype=torch.bool)).with_values({"b": prior}).with_time({"b": torch.ones(1, 2)})
            asked, without = denoiser(at, none)["tokens"], denoiser(gone, none)["tokens"]
            data = without + 2.5 * (asked - without)
            if s == 0:
                x = data
            else:
                noise = path.to_noise(data, x, t.view(1, 1, 1))
                x = path.corrupt(data, noise, s.view(1, 1, 1))
        torch.testing.assert_close(made["tokens"].values, x, atol=1e-4, rtol=1e-4)

    def test_streams_that_are_not_there_are_refused(self, denoiser: TwoStreams) -> None:
        with pytest.raises(ValueError, match=r"names the streams \['c'\]: the tokenizer makes \['b', 'tokens'\]"):
            sample(denoiser, self._one(denoiser, WithoutStreams(absent=("c",))))
        with pytest.raises(ValueError, match="leaves no stream to guide"):
            sample(denoiser, self._one(denoiser, WithoutStreams(absent=("tokens", "b"))))
