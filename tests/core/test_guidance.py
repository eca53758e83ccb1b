import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anylatent.engine import Engine, Request
from anylatent.guidance.base import Guidance, Moment
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.paths.cosine import Cosine
from anylatent.sampling import Sampling
from anylatent.testing.guidance import GuidanceContract
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
    moment = Moment(time[:, 0, 0], torch.zeros(1))
    combined = guidance.combine({"asked": asked, "null": null}, moment)
    noises = {"asked": path.to_noise(asked, x, time), "null": path.to_noise(null, x, time)}
    torch.testing.assert_close(path.to_noise(combined, x, time), guidance.combine(noises, moment), atol=1e-9, rtol=1e-9)


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
