"""The engine, with exactly known denoisers: what a row becomes does not depend on who is beside it."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

from anylatent.corrections.clip import Clip
from anylatent.engine import Engine, Request, sample
from anylatent.guidance.base import Branch, Guidance
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.moment import Here, Moment
from anylatent.paths import EDM, Cosine, Rectified
from anylatent.sampling import Sampling, StreamSampling
from anylatent.schedules import Rho
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.euler import Euler
from anylatent.solvers.heun import Heun
from anylatent.testing.oracles import MixtureOracle


@pytest.fixture(scope="module")
def oracle() -> MixtureOracle:
    generator = torch.Generator().manual_seed(0)
    return MixtureOracle(
        Rectified(), torch.tensor([0.2, 0.3, 0.5]), torch.randn(3, 5, 2, generator=generator), torch.tensor([0.1, 0.3, 0.2])
    )


def _request(oracle: MixtureOracle, seed: int, **sampling: object) -> Request:
    asked = oracle.conditions([{"component": seed % 3}])
    return Request(oracle.layout([seed]), asked, Sampling.model_validate(sampling), oracle.conditions.null(1))


def test_solvers_guidances_and_steps_mix_in_one_batch(oracle: MixtureOracle) -> None:
    """16 requests of four solvers, each with its own scale and number of steps: one network call a round, samples as alone."""
    solvers = [Heun(), DPMpp2M(), Ancestral(), DDIM()]
    requests = [_request(oracle, i, steps=4 + i % 5, solver=solvers[i % 4], guidance=ClassifierFree(scale=1 + i / 8)) for i in range(16)]
    alone = [sample(oracle, request) for request in requests]
    batches: list[int] = []
    watched = MixtureOracle(oracle.gaussian, oracle.weights, oracle.means, oracle.stds)
    forward = watched.forward
    watched.forward = lambda state, *rest: batches.append(len(state)) or forward(state, *rest)  # type: ignore[method-assign]
    engine = Engine(watched)
    for request in requests:
        engine.add(request)
    rounds, done = 0, {}
    while len(engine):
        done |= {finished.row: finished for finished in engine.step()}
        rounds += 1
    assert rounds == 8
    assert len(batches) <= 2 * rounds, "only Heun's second prediction needs a second batch"
    for row, (state, receipts) in enumerate(alone):
        torch.testing.assert_close(done[row].state["tokens"].values, state["tokens"].values, atol=1e-5, rtol=0)
        assert done[row].receipts["engine"] == receipts["engine"].rows[0]


def test_more_rows_than_room_wait_and_come_out_the_same(oracle: MixtureOracle) -> None:
    request = Request(oracle.layout(range(23)), oracle.conditions([{"component": i % 3} for i in range(23)]), Sampling(steps=5))
    wide, _ = sample(oracle, request, rows=64)
    narrow, _ = sample(oracle, request, rows=4)
    torch.testing.assert_close(wide["tokens"].values, narrow["tokens"].values, atol=1e-5, rtol=0)
    assert torch.equal(narrow.seeds, torch.arange(23))


def test_a_cancelled_row_is_gone_and_the_others_are_as_they_were(oracle: MixtureOracle) -> None:
    engine = Engine(oracle, rows=2)
    ids = [engine.add(_request(oracle, seed, steps=6))[0] for seed in range(4)]
    engine.step()
    assert engine.cancel(ids[0])  # moving
    assert engine.cancel(ids[3])  # waiting
    assert not engine.cancel(ids[0])
    assert not engine.cancel(99)
    done = {finished.row: finished for finished in engine.stream()}
    assert sorted(done) == [ids[1], ids[2]]
    alone, _ = sample(oracle, _request(oracle, 2, steps=6))
    torch.testing.assert_close(done[ids[2]].state["tokens"].values, alone["tokens"].values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("path", [Rectified(), Cosine(), EDM(sigma_max=20)], ids=lambda path: path.kind)
@pytest.mark.parametrize("noised", [False, True], ids=["clean", "noised"])
def test_given_tokens_come_back_bit_for_bit(path: Rectified, noised: bool) -> None:
    oracle = MixtureOracle.gauss(path, torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), 0.5)
    layout = oracle.layout([0, 1])
    values = torch.randn(2, 5, 2)
    keep = torch.tensor([[True, False, False, True, False], [False] * 5])
    state = layout.with_values({"tokens": values}).with_kept("tokens", keep)
    made, _ = sample(oracle, Request(state, oracle.conditions([{}] * 2), Sampling(steps=4), noised=noised))
    assert torch.equal(made["tokens"].values[keep], values[keep])
    free, _ = sample(oracle, Request(layout, oracle.conditions([{}] * 2), Sampling(steps=4)))
    torch.testing.assert_close(made["tokens"].values[1], free["tokens"].values[1], atol=1e-5, rtol=0)


def test_beginning_late_stays_near_what_was_given() -> None:
    """From a time `begin`, with enough steps, the exact flow of a Gaussian: known in closed form."""
    oracle = MixtureOracle.gauss(Rectified(), torch.zeros(3, 2), 1.0)
    given = torch.randn(1, 3, 2, generator=torch.Generator().manual_seed(0))
    state = oracle.layout([7]).with_values({"tokens": given})
    moved = []
    for begin in (0.05, 0.4):
        request = Request(state, oracle.conditions([{}]), Sampling(steps=200, solver=DPMpp2M()), begin=begin)
        made, _ = sample(oracle, request)
        noise = state.noise("tokens", -1, 0)
        start = oracle.gaussian.corrupt(given, noise, torch.full((1, 1, 1), begin))
        exact = oracle.flow(start, torch.tensor(begin), torch.tensor(0.0))
        torch.testing.assert_close(made["tokens"].values, exact, atol=2e-3, rtol=0)
        moved.append(float((made["tokens"].values - given).norm()))
    assert moved[0] < moved[1]


def test_a_correction_reaches_the_sample(oracle: MixtureOracle) -> None:
    clipped, _ = sample(oracle, _request(oracle, 0, steps=5, corrections=(Clip(limit=0.25),)))
    assert clipped["tokens"].values.abs().max() <= 0.25
    free, _ = sample(oracle, _request(oracle, 0, steps=5))
    neutral, _ = sample(oracle, _request(oracle, 0, steps=5, corrections=(Clip(limit=float("inf")),)))
    assert torch.equal(neutral["tokens"].values, free["tokens"].values)


def test_all_that_does_not_suit_is_said_at_once(oracle: MixtureOracle) -> None:
    from anylatent.hooks.residual_cache import ResidualCache

    sampling = Sampling(hooks=(ResidualCache(), ResidualCache(threshold=0.2)), streams={"sound": StreamSampling(schedule=Rho())})
    with pytest.raises(ValueError, match=r"there is no stream 'sound'.*hook 'residual-cache' needs the sites \['trunk'\].*named twice"):
        Engine(oracle).add(Request(oracle.layout([0]), oracle.conditions([{}]), sampling))


def test_samples_of_a_discrete_oracle_have_its_distribution() -> None:
    """Atoms with known probabilities: the total variation of 1,500 samples is within what chance allows."""
    atoms = torch.eye(4)[:, None, :] * 2
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4])
    oracle = MixtureOracle.atoms(Cosine(), atoms, weights)
    state, _ = sample(oracle, Request(oracle.layout(range(1500)), oracle.conditions([{}] * 1500), Sampling(steps=40)), rows=1500)
    values = state["tokens"].values
    nearest = torch.cdist(values.flatten(1), atoms.flatten(1)).argmin(1)
    torch.testing.assert_close(values, atoms[nearest], atol=1e-2, rtol=0)
    variation = 0.5 * (torch.bincount(nearest, minlength=4) / 1500 - weights).abs().sum()
    assert variation < 0.05


class Weaker(Guidance, kind="weaker"):
    """Away from another denoiser's prediction (as autoguidance, Karras et al. 2024, 2406.02507), for the test."""

    def denoisers(self) -> tuple[str, ...]:
        return ("weak",)

    def plan(self, moment: Moment) -> list[Branch]:
        return [Branch("asked"), Branch("weak", denoiser="weak")]

    def combine(self, predictions: Mapping[str, torch.Tensor], here: Here) -> torch.Tensor:
        return predictions["asked"] + 0.5 * (predictions["asked"] - predictions["weak"])


def test_a_guidance_can_ask_another_denoiser() -> None:
    """Two Gaussians of one mean: the guided prediction is known; each denoiser is asked once a step, and a missing one is named."""
    strong = MixtureOracle.gauss(Rectified(), torch.zeros(2, 2), 1.0)
    weak = MixtureOracle.gauss(Rectified(), torch.zeros(2, 2), 2.0)
    sampling = Sampling(steps=5, solver=Euler(), guidance=Weaker())
    asked = strong.conditions([{}] * 3)
    request = Request(strong.layout(range(3)), asked, sampling, beside={"weak": {"asked": weak.conditions([{}] * 3)}})
    engine = Engine(strong, others={"weak": weak})
    engine.add(request)
    done = list(engine.stream())
    assert strong.calls == weak.calls == 15
    assert done[0].receipts["engine"]["network_calls"] == 10
    plain, _ = sample(
        MixtureOracle.gauss(Rectified(), torch.zeros(2, 2), 1.0), replace(request, sampling=Sampling(steps=5, solver=Euler()), beside={})
    )
    assert (done[0].state["tokens"].values.abs() < plain["tokens"].values[:1].abs()).all(), "the weak one says more: away from it is less"
    with pytest.raises(ValueError, match="guidance 'weaker' asks the denoiser 'weak': this engine and request have none besides"):
        Engine(strong).add(request)
