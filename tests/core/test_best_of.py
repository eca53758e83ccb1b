"""Search at inference: of several samples of a row, the best."""

import pytest
import torch
from small_generators import network

from anylatent.best_of import BestOf
from anylatent.cli import requests
from anylatent.conditioners.base import Conditions
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.energies import Decode, FunctionEnergy, Roughness, SampleFunction
from anylatent.engine import Engine, Finished, Request
from anylatent.generation import RowGenerator, gathered
from anylatent.joint.energies import PartEnergy
from anylatent.known import Known
from anylatent.measurements.base import Layout
from anylatent.paths.cosine import Cosine
from anylatent.paths.rectified import Rectified
from anylatent.paths.vocabulary import Masked
from anylatent.random import seed_of
from anylatent.recipe import RecipeError
from anylatent.sampling import Sampling
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.discrete import AncestralDiscrete
from anylatent.solvers.heun import Heun
from anylatent.state import State
from anylatent.testing.backbones import random_state, shaken, two_stream_specs
from anylatent.testing.discrete import DiscreteOracle
from anylatent.testing.oracles import MixtureOracle
from anylatent.types import Tensor


def small(x: Tensor, layout: Layout) -> Tensor:
    return -(x * layout.mask[..., None]).sum((1, 2))


LARGEST = FunctionEnergy(function=small)


def gaussian() -> MixtureOracle:
    return MixtureOracle.gauss(Cosine(), torch.full((1, 1), 0.3), 0.5)


def best(
    oracle: MixtureOracle, state: State, count: int | None, steps: int = 8, known: Known | None = None, solver: Solver | None = None
) -> list[Finished]:
    best_of = None if count is None else BestOf(count=count, energy=LARGEST)
    generator = RowGenerator(oracle, Sampling(steps=steps, solver=solver or DDIM(), best_of=best_of, batch=4096), noised=False)
    return sorted(generator.stream(state, [{}] * len(state), known=known), key=lambda done: done.row)


def test_the_best_of_n_gaussian_samples_is_their_largest() -> None:
    """P(the largest of n <= x) = P(x0 <= x)^n, and its quantiles are uniform: to what 400 rows can tell."""
    rows, count, oracle = 400, 4, gaussian()
    made = torch.cat([done.state["tokens"].values for done in best(oracle, oracle.layout(list(range(rows))), count, 16, solver=Heun())])
    quantile = oracle.distribution(made.double(), torch.tensor(0.0, dtype=torch.float64)).flatten().sort().values ** count
    apart = (quantile - (torch.arange(rows) + 0.5) / rows).abs().max()
    assert apart < 1.36 / rows**0.5, "Kolmogorov and Smirnov, at 5 %"
    assert (quantile ** (1 / count) - (torch.arange(rows) + 0.5) / rows).abs().max() > 0.3, "a sample alone is far from it"


def test_it_is_the_largest_of_the_very_candidates() -> None:
    """Candidate k has a seed of the row's; the first is the row's own. Receipts are all candidates'."""
    oracle, seeds = gaussian(), [5, 11, 12]
    done = best(oracle, oracle.layout(seeds), 3, solver=Ancestral())
    assert [each.receipts["engine"]["network_calls"] for each in done] == [8 * 3] * 3
    assert oracle.calls == 8 * 3 * 3
    for row, seed in enumerate(seeds):
        own = [seed, seed_of("candidate", seed, 1), seed_of("candidate", seed, 2)]
        alone = torch.cat([each.state["tokens"].values for each in best(gaussian(), oracle.layout(own), None, solver=Ancestral())])
        torch.testing.assert_close(done[row].state["tokens"].values[0], alone.max(0).values, atol=1e-6, rtol=0)
        assert done[row].receipts["best-of"] == {"candidates": 3.0, "changed": float(alone.argmax() > 0)}
    assert 0 < sum(each.receipts["best-of"]["changed"] for each in done)


def test_one_candidate_is_the_sample_bit_for_bit() -> None:
    oracle = gaussian()
    plain, one = (best(gaussian(), oracle.layout([3, 4]), count) for count in (None, 1))
    for a, b in zip(plain, one, strict=True):
        assert torch.equal(a.state["tokens"].values, b.state["tokens"].values)
        assert a.receipts == {name: counts for name, counts in b.receipts.items() if name != "best-of"}


def test_rows_are_alone_together_and_ragged() -> None:
    specs = two_stream_specs()
    torch.manual_seed(0)
    backbone = DiTConfig(depth=1, width=16, heads=2).build(specs, False)
    denoiser = Denoiser(backbone, Conditions(16, {}), {spec.name: Corruption(Rectified(), "velocity") for spec in specs})
    shaken(denoiser).requires_grad_(False)
    state = random_state(specs, [5, 3]).with_time({spec.name: torch.zeros(2, 5) for spec in specs})
    sampling = Sampling(steps=3, best_of=BestOf(count=3, energy=LARGEST, stream="field"), batch=4)

    def made(state: State) -> State:
        return gathered(list(RowGenerator(denoiser, sampling, False).stream(state, [{}] * len(state))), state).state

    together = made(state)
    assert together.seeds.tolist() == state.seeds.tolist()
    for row in range(2):
        alone = made(state.select([row]).trimmed())
        for name, stream in alone.streams.items():
            torch.testing.assert_close(together[name].values[row : row + 1, : stream.shape[1]], stream.values, atol=1e-5, rtol=0)


def test_what_is_known_of_rows_is_known_of_their_candidates() -> None:
    """From one prior by a deterministic solver there is one sample; what an inversion cost is counted once."""
    oracle = gaussian()
    state = oracle.layout([0, 1])
    known = Known(prior={"tokens": torch.tensor([[[0.5]], [[-1.0]]])}, spent={"engine": {"network_calls": torch.tensor([7.0, 9.0])}})
    done, plain = best(oracle, state, 3, known=known), best(oracle, state, None, known=known)
    for each, one in zip(done, plain, strict=True):
        torch.testing.assert_close(each.state["tokens"].values, one.state["tokens"].values, atol=1e-6, rtol=0)
    assert [each.receipts["engine"]["network_calls"] for each in done] == [8 * 3 + 7, 8 * 3 + 9]


def test_going_back_there_is_nothing_to_choose() -> None:
    oracle = gaussian()
    state = oracle.layout([0, 1]).with_values({"tokens": torch.tensor([[[0.5]], [[0.1]]])})
    back = [
        RowGenerator(oracle, Sampling(steps=4, solver=DDIM(), best_of=best_of), False).invert(state, [{}] * 2).state["tokens"].values
        for best_of in (None, BestOf(count=3, energy=LARGEST))
    ]
    assert torch.equal(*back)


def test_what_cannot_be_judged_is_refused() -> None:
    oracle = gaussian()
    denoiser = network().denoiser

    def refusals(best_of: BestOf) -> str:
        return "; ".join(Sampling(best_of=best_of).refusals(denoiser, False))

    assert refusals(BestOf(energy=Roughness(), stream="picture")) == (
        "best_of names the stream 'picture': the streams that are made are ['field', 'cloud']"
    )
    assert "energy 'roughness' goes along an axis '': stream 'cloud' has none" in refusals(BestOf(energy=Roughness()))
    assert not refusals(BestOf(energy=Roughness(), stream="field"))
    searching = Sampling(best_of=BestOf(energy=LARGEST))
    with pytest.raises(ValueError, match="`best_of` chooses among samples that are done: ask a `RowGenerator`"):
        Engine(oracle).add(Request(oracle.layout([0]), oracle.conditions([{}]), searching))
    elsewhere = Sampling(best_of=BestOf(energy=LARGEST, stream="picture"))
    with pytest.raises(ValueError, match="best_of names the stream 'picture'"):
        list(RowGenerator(oracle, elsewhere, False).stream(oracle.layout([0]), [{}]))


def test_the_command_line_reads_it() -> None:
    found = requests.changes("", "", "", [], [], "{count: 3, energy: {kind: roughness}, stream: image}")
    assert found == {"best_of": BestOf(count=3, energy=Roughness(), stream="image")}
    with pytest.raises(RecipeError, match="energy"):
        requests.changes("", "", "", [], [], "{count: 3}")


def test_streams_that_are_made_are_judged_together_in_their_masks() -> None:
    specs = two_stream_specs()
    state = random_state(specs, [5, 3])
    energy = FunctionEnergy(function=lambda x, layout: layout.mask.sum(1) + small(x.square(), layout))
    each = {spec.name: energy.value(state[spec.name].values, Layout.of(state[spec.name], spec)) for spec in specs}
    torch.testing.assert_close(BestOf(energy=energy).worth(state, specs), -sum(each.values()))
    given = [specs[0], specs[1].model_copy(update={"given": True})]
    torch.testing.assert_close(BestOf(energy=energy).worth(state, given), -each[specs[0].name])


def test_what_cannot_be_judged_is_not_chosen() -> None:
    """An energy that is no number above 0.3: of candidates on both sides, none from above."""
    oracle = gaussian()
    energy = FunctionEnergy(function=lambda x, layout: torch.where(x.sum((1, 2)) > 0.3, torch.nan, -x.sum((1, 2))))
    sampling = Sampling(steps=8, best_of=BestOf(count=16, energy=energy), batch=4096)
    made = gathered(list(RowGenerator(oracle, sampling, False).stream(oracle.layout(range(20)), [{}] * 20)), oracle.layout(range(20)))
    assert (made.state["tokens"].values <= 0.3).all()


def test_given_tokens_come_back_bit_for_bit_in_the_best() -> None:
    specs = two_stream_specs()
    torch.manual_seed(0)
    backbone = DiTConfig(depth=1, width=16, heads=2).build(specs, False)
    denoiser = Denoiser(backbone, Conditions(16, {}), {spec.name: Corruption(Rectified(), "velocity") for spec in specs})
    shaken(denoiser).requires_grad_(False)
    state = random_state(specs, [5, 3]).with_time({spec.name: torch.zeros(2, 5) for spec in specs})
    keep = torch.zeros(2, 5, dtype=torch.bool)
    keep[:, :2] = True
    state = state.with_kept("field", keep).with_kept("cloud", state["cloud"].mask)
    for noised in (False, True):
        sampling = Sampling(steps=3, best_of=BestOf(count=4, energy=LARGEST, stream="field"), batch=8)
        done = sorted(RowGenerator(denoiser, sampling, noised).stream(state, [{}] * 2), key=lambda each: each.row)
        assert sum(each.receipts["best-of"]["changed"] for each in done) > 0
        for row, each in enumerate(done):
            for name in ("field", "cloud"):
                kept = state[name].keep[row]
                assert torch.equal(each.state[name].values[0][kept], state[name].values[row][kept])


def letters(state: State) -> list[str]:
    return ["".join("abc_"[i] for i in row.argmax(1).tolist()) for row in state["tokens"].values]


AS = SampleFunction(function=lambda words: torch.tensor([float(-word.count("a")) if word[0] != "c" else torch.nan for word in words]))
"""As many a as there can be; words that begin with c are broken."""


def test_the_best_of_categorical_samples_by_what_they_decode_to() -> None:
    """Of the very candidates, the word with the most a, the first of equals; one that is broken only where all are."""
    rows, seeds = torch.eye(4)[torch.cartesian_prod(*[torch.arange(3)] * 3)], list(range(12))
    oracle = DiscreteOracle(Masked(), rows, torch.ones(len(rows)))

    def made(seeds: list[int], best_of: BestOf | None) -> list[str]:
        generator = RowGenerator(oracle, Sampling(steps=3, solver=AncestralDiscrete(), best_of=best_of), False, decode=letters)
        return letters(generator(oracle.layout(seeds), [{}] * len(seeds)))

    found = made(seeds, BestOf(count=3, energy=AS))
    for seed, word in zip(seeds, found, strict=True):
        candidates = made([seed, *(seed_of("candidate", seed, k) for k in (1, 2))], None)
        assert word == max(candidates, key=lambda each: -1 if each[0] == "c" else each.count("a"))
    assert sum(word.count("a") for word in found) > 1.3 * sum(word.count("a") for word in made(seeds, None))


def test_a_decoder_that_draws_decodes_the_best_as_it_was_judged() -> None:
    """It draws by the row's seed, which the best of the candidates has in the end: not by the candidate's own."""
    oracle, seeds = gaussian(), [3, 4, 5]
    judged: dict[int, list[float]] = {seed: [] for seed in seeds}

    def decode(state: State) -> list[tuple[int, float]]:
        drawn = state.noise("tokens", 0, 0, "decoder")
        numbers = (state["tokens"].values + 2 * drawn)[:, 0, 0].tolist()
        return list(zip(state.seeds.tolist(), numbers, strict=True))

    def value(samples: list[tuple[int, float]]) -> Tensor:
        for seed, number in samples:
            judged[seed].append(number)
        return torch.tensor([-number for _, number in samples])

    sampling = Sampling(steps=4, solver=DDIM(), best_of=BestOf(count=4, energy=SampleFunction(function=value)))
    state = RowGenerator(oracle, sampling, False, decode=decode)(oracle.layout(seeds), [{}] * 3)
    assert {len(numbers) for numbers in judged.values()} == {4}
    assert decode(state) == [(seed, max(judged[seed])) for seed in seeds]


def test_samples_that_cannot_be_judged_are_refused_before_they_are_made() -> None:
    oracle = gaussian()

    def tried(best_of: BestOf, decode: Decode | None) -> None:
        list(RowGenerator(oracle, Sampling(best_of=best_of), False, decode=decode).stream(oracle.layout([0]), [{}]))

    with pytest.raises(ValueError, match="energy 'sample-function' judges decoded samples, and only tokens are here"):
        tried(BestOf(energy=AS), None)
    with pytest.raises(ValueError, match="energy 'part' judges joint samples: these are of the type str"):
        tried(BestOf(energy=PartEnergy(part="word", energy=AS)), lambda state: ["ab"] * len(state))
    with pytest.raises(ValueError, match="and energy 'sample-function' judges whole samples: leave `stream` out"):
        tried(BestOf(energy=AS, stream="tokens"), letters)
    assert oracle.calls == 0


def test_what_is_known_of_other_rows_is_refused_in_the_rows_asked_for() -> None:
    with pytest.raises(ValueError, match=r"`Known\.prior` of stream 'tokens' has 3 rows: the request has 2"):
        best(gaussian(), gaussian().layout(range(2)), 4, known=Known(prior={"tokens": torch.zeros(3, 1, 1)}))
