"""Weak-to-strong reflection: where it leads, against closed forms, and what it is refused with."""

from typing import Any

import pytest
import torch
from small_generators import CLOUD, FIELD, network

from anylatent.engine import Engine, Finished, Request, receipts
from anylatent.generation import RowGenerator
from anylatent.guidance.autoguidance import Autoguidance
from anylatent.guidance.base import Guidance
from anylatent.guidance.compose import Compose, Entry
from anylatent.guidance.none import Unguided
from anylatent.guidance.perturbed import Perturbed
from anylatent.guidance.reflection import Reflection
from anylatent.guidance.rules.projected import Projected
from anylatent.paths.base import GaussianPath
from anylatent.paths.cosine import Cosine
from anylatent.paths.rectified import Rectified
from anylatent.paths.vocabulary import Masked
from anylatent.sampling import Sampling, StreamSampling
from anylatent.schedule_search import searched_times
from anylatent.schedules import ByLength, Pyramid, Resample, Schedule, Uniform
from anylatent.solvers.ddim import DDIM
from anylatent.solvers.discrete import AncestralDiscrete
from anylatent.solvers.heun import Heun
from anylatent.state import Receipt
from anylatent.testing.backbones import random_state
from anylatent.testing.discrete import DiscreteOracle
from anylatent.testing.guidance import GuidedTransformer
from anylatent.testing.oracles import MixtureOracle
from anylatent.types import Tensor

WEAK = Compose(entries=(Entry(model="weak"),))
STRONG_STD, WEAK_STD = 0.5, 0.9


def shrunk(path: GaussianPath, guidance: Guidance, steps: int, weak: float = WEAK_STD, **more: Any) -> tuple[Tensor, dict[str, Receipt]]:
    """By what prior noise is multiplied on its way to the data: all is linear among Gaussians of mean 0."""
    strong, other = (MixtureOracle.gauss(path, torch.zeros(3, 2), std) for std in (STRONG_STD, weak))
    state, asked = strong.layout([0, 1]), [{}, {}]
    sampling = Sampling(**{"steps": steps, "solver": DDIM(), "guidance": guidance} | more)
    beside = {"weak": {"asked": other.conditions(asked)}}
    engine = Engine(strong, others={"weak": other})
    engine.add(Request(state, strong.conditions(asked), sampling, beside=beside))
    done = list(engine.stream())
    ratio = torch.cat([each.state["tokens"].values for each in sorted(done, key=lambda each: each.row)]) / state.noise("tokens", -1, 0)
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), atol=1e-4, rtol=0)
    return ratio.mean(), receipts(done)


@pytest.mark.parametrize("path", [Rectified(), Cosine()], ids=lambda path: path.kind)
def test_it_goes_down_by_one_prediction_and_up_by_another(path: GaussianPath) -> None:
    """Every factor written out: DDIM's x_s = a x_t + b d, with d = c(t) x of a Gaussian, and that step solved for x_t with d of x_s."""
    steps, repeats = 6, 2
    times = Uniform().times(steps, path)
    alpha, sigma = path.alpha(times), path.sigma(times)
    strong, weak = (alpha * std**2 / ((alpha * std) ** 2 + sigma**2) for std in (STRONG_STD, WEAK_STD))
    factor = torch.tensor(1.0, dtype=torch.float64)
    for k in range(steps):
        a = sigma[k + 1] / sigma[k]
        b = alpha[k + 1] - alpha[k] * a
        down, up = a + b * strong[k], (1 - b * weak[k + 1]) / a
        factor = factor * down * (up * down) ** (repeats if k < round(0.4 * steps) else 0)
    found, receipt = shrunk(path, Reflection(weak=WEAK, share=0.4, repeats=repeats), steps)
    torch.testing.assert_close(found.double(), factor, atol=1e-5, rtol=0)
    assert receipt["reflection"].counts["reflected"] == 2 * 2 * repeats, "two rows, two steps"
    assert receipt["engine"].counts["network_calls"] == 2 * (steps + 2 * 2 * repeats)


@pytest.mark.parametrize("repeats", [1, 3])
def test_in_small_steps_it_is_autoguidance(repeats: int) -> None:
    """Of the velocities each reflected step adds the strong one and takes the weak one: weak + (1 + repeats) (strong - weak)."""
    away = {
        n: (
            shrunk(Rectified(), Reflection(weak=WEAK, share=1.0, repeats=repeats), n)[0]
            - shrunk(Rectified(), Autoguidance(model="weak", scale=1.0 + repeats), n)[0]
        ).abs()
        for n in (30, 60)
    }
    assert away[60] < 0.06
    assert away[60] < 0.6 * away[30]


def test_with_a_weak_one_as_strong_nothing_is_gained() -> None:
    """Up by the same prediction it comes back to where it was, but for the error of DDIM's inversion: of second order in a step."""
    away = {
        n: (shrunk(Rectified(), Reflection(weak=WEAK), n, weak=STRONG_STD)[0] - shrunk(Rectified(), Unguided(), n)[0]).abs()
        for n in (20, 40, 80)
    }
    assert away[80] < 0.6 * away[40] < 0.36 * away[20]
    assert away[80] < 0.01


@pytest.mark.parametrize("schedule", [Pyramid(axis="x", lag=2, block=2.0), ByLength(tokens=4)], ids=lambda schedule: schedule.kind)
def test_tokens_and_rows_may_have_times_of_their_own(schedule: Schedule) -> None:
    """Rows of 3 and 5 tokens, alone as together, of which some rest while others go up."""
    generator = network((FIELD,), guidance=Reflection(weak=Unguided(), repeats=2), schedule=schedule, steps=4, solver=DDIM())
    state = random_state((FIELD,), [3, 5])
    together = generator(state, [{}] * 2)
    for row in range(2):
        own = state.select([row]).trimmed()
        alone = generator(own, [{}])["field"].values
        torch.testing.assert_close(together["field"].values[row : row + 1, : alone.shape[1]], alone, atol=1e-5, rtol=0)
    plain = network((FIELD,), schedule=schedule, steps=4, solver=DDIM())(state, [{}] * 2)
    assert (together["field"].values - plain["field"].values).abs().max() > 1e-3


def test_what_it_cannot_do_is_refused_by_name() -> None:
    def refused(guidance: Guidance, **sampling: Any) -> str:
        denoiser = network((FIELD, CLOUD)).denoiser
        return "; ".join(Sampling(guidance=guidance, **sampling).refusals(denoiser, null=True))

    assert not refused(Reflection())
    own = {"field": StreamSampling(schedule=Resample())}
    said = "guidance 'reflection' undoes steps of a schedule that falls, given 'resample', which rises"
    assert said in refused(Reflection(), streams=own)
    assert not refused(Reflection(repeats=0), streams=own)
    assert "given 'reflection', which rises" in refused(Reflection(inner=Reflection()))
    oracle = DiscreteOracle(Masked(), torch.eye(3)[torch.tensor([[0, 1], [1, 2]])], torch.ones(2))
    words = Sampling(solver=AncestralDiscrete(), guidance=Reflection()).refusals(oracle, null=True)
    assert any("guidance 'reflection' goes up along Gaussian paths, not 'masked'" in text for text in words)
    generator = network(guidance=Reflection())
    with pytest.raises(ValueError, match=r"guidance 'reflection' makes times of its own of a schedule, .* begin without it \(--guidance\)"):
        searched_times(generator, generator.sampling)
    assert Sampling(guidance=Reflection(), solver=DDIM()).undetermined(["field"]) == []


@pytest.mark.parametrize(("share", "steps", "calls"), [(0.5, 1, 3), (0.1, 4, 6), (1.0, 3, 9)])
def test_a_share_is_of_one_step_at_least(share: float, steps: int, calls: int) -> None:
    _, found = shrunk(Rectified(), Reflection(weak=WEAK, share=share), steps)
    assert found["engine"].counts["network_calls"] == 2 * calls


@pytest.mark.parametrize("place", ["inner", "weak"])
def test_each_of_the_two_remembers_its_own(place: str) -> None:
    """A rule with momentum goes by what it heard at its own earlier questions, of steps in the same direction."""
    denoiser = GuidedTransformer()

    def made(momentum: float) -> Tensor:
        guidance = Reflection.model_validate({place: Perturbed(rule=Projected(momentum=momentum))})
        generator = RowGenerator(denoiser, Sampling(steps=6, solver=DDIM(), guidance=guidance), False)
        return generator(denoiser.layout([0]), [{}])["tokens"].values

    assert (made(-0.5) - made(0.0)).abs().max() > 1e-4


def test_streams_whose_solvers_ask_unlike_often_go_up_together() -> None:
    """Rows that join one step after the other, so that some go up while others go down: each as it is alone."""
    guidance = Reflection(
        inner=Perturbed(rule=Projected(momentum=-0.5)), weak=Perturbed(scale=0.5, rule=Projected(momentum=0.3)), share=1.0
    )
    sampling = Sampling(steps=4, solver=DDIM(), guidance=guidance, streams={"field": StreamSampling(solver=Heun())})
    denoiser = network().denoiser
    requests = [Request(random_state(denoiser.specs, [size]).select([0]), denoiser.conditions([{}]), sampling) for size in (3, 5, 4)]

    def run(some: list[Request]) -> list[Finished]:
        engine, done = Engine(denoiser), []
        for request in some:
            engine.add(request)
            done += engine.step()
        return sorted([*done, *engine.stream()], key=lambda each: each.row)

    for request, joined in zip(requests, run(requests), strict=True):
        [alone] = run([request])
        assert joined.receipts == alone.receipts
        for name, stream in alone.state.streams.items():
            torch.testing.assert_close(joined.state[name].values[:, : stream.shape[1]], stream.values, atol=1e-5, rtol=0)
