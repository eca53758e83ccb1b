"""Search among steps by a value without gradients."""

import itertools
from collections.abc import Mapping

import pytest
import torch

from anylatent.cli import requests
from anylatent.conditioners.base import Conditions
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.energies import FunctionEnergy, Roughness, SampleFunction
from anylatent.engine import Engine, Request
from anylatent.generation import RowGenerator
from anylatent.measurements.base import Layout
from anylatent.paths.cosine import Cosine
from anylatent.paths.rectified import Rectified
from anylatent.paths.vocabulary import Masked
from anylatent.recipe import RecipeError
from anylatent.sampling import Sampling, StreamSampling
from anylatent.solvers.base import Memory, Move, Query, Solver, Steps
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.discrete import AncestralDiscrete
from anylatent.solvers.langevin import Langevin
from anylatent.solvers.value_search import ValueSearch
from anylatent.spec import StreamSpec
from anylatent.state import State
from anylatent.testing.backbones import random_state, shaken, two_stream_specs
from anylatent.testing.discrete import DiscreteOracle
from anylatent.testing.oracles import MixtureOracle
from anylatent.types import Tensor


def small(data: Tensor, layout: Layout) -> Tensor:
    """How small the tokens are: a step function, which has no useful gradient."""
    return -(data.sum((1, 2)) * 1000).round()


LARGE = FunctionEnergy(function=small)


def modes() -> MixtureOracle:
    return MixtureOracle(Cosine(), torch.ones(2) / 2, torch.tensor([[[1.0]], [[-1.0]]]), torch.full((2,), 0.3))


def run(oracle: MixtureOracle, solver: Solver, seeds: list[int], steps: int = 10) -> tuple[Tensor, list[Mapping[str, Mapping[str, float]]]]:
    """The samples and receipts of each row."""
    engine = Engine(oracle, rows=len(seeds))
    engine.add(Request(oracle.layout(seeds), oracle.conditions([{}] * len(seeds)), Sampling(steps=steps, solver=solver)))
    done = sorted(engine.stream(), key=lambda each: each.row)
    return torch.cat([each.state["tokens"].values for each in done]), [each.receipts for each in done]


def test_one_candidate_is_the_solver_itself() -> None:
    still = ValueSearch.model_validate({"energy": LARGE, **(ValueSearch.neutral or {})})
    same, receipts = run(modes(), still, [0, 1, 2])
    plain, fewest = run(modes(), Ancestral(), [0, 1, 2])
    assert torch.equal(same, plain)
    assert receipts == fewest
    assert still.calls == 1


@pytest.mark.parametrize(("inner", "inners"), [(Ancestral(), 1), (Langevin(solver=Ancestral()), 2)], ids=["ancestral", "langevin"])
def test_rows_are_alone_together_and_counted(inner: Solver, inners: int) -> None:
    solver = ValueSearch(energy=LARGE, candidates=3, solver=inner)
    assert solver.calls == 1 + 3 * inners
    oracle = modes()
    together, receipts = run(oracle, solver, [0, 1, 2])
    assert [each["engine"]["network_calls"] for each in receipts] == [9 * solver.calls + 1] * 3
    assert oracle.calls == 3 * (9 * solver.calls + 1)
    assert [each["value-search"]["searched"] for each in receipts] == [9] * 3
    assert all(each.get("langevin", {}) == ({"steps": 27} if inners == 2 else {}) for each in receipts)
    for row in range(3):
        torch.testing.assert_close(run(modes(), solver, [row])[0][0], together[row], atol=1e-5, rtol=0)


def test_more_candidates_are_worth_more() -> None:
    share = [float((run(modes(), ValueSearch(energy=LARGE, candidates=k), list(range(100)))[0] > 0).float().mean()) for k in (1, 2, 6)]
    assert 0.35 < share[0] < 0.65, "without a choice both modes are as likely"
    assert share[0] + 0.1 < share[1]
    assert share[2] > 0.95


def test_of_one_gaussian_it_takes_the_largest_noise() -> None:
    """The clean prediction rises with the state, so the best candidate is that of the largest draw: ancestral steps by hand."""
    oracle = MixtureOracle.gauss(Cosine(), torch.full((1, 1), 0.3), 0.5)
    values, receipts = run(oracle, ValueSearch(energy=LARGE, candidates=3), [0, 1, 2, 3], steps=6)
    changed = torch.zeros(4)
    path, state = Cosine(), oracle.layout([0, 1, 2, 3])
    times = Sampling(steps=6).schedule.times(6, path, path.start("data")).float()
    x = path.corrupt(torch.zeros(4, 1, 1), state.noise("tokens", -1, 0), times[0])
    for i, (t, s) in enumerate(itertools.pairwise(times)):
        data = oracle.posterior_mean(x, t.expand(4, 1, 1), torch.ones(4, 1))
        noise, which = torch.stack([state.noise("tokens", i, 0, f"/candidate {k}" if k else "") for k in range(3)]).max(0)
        changed += (which.flatten() > 0) & (s > 0)
        up = path.sigma(s) * (1 - (path.alpha(t) * path.sigma(s) / (path.alpha(s) * path.sigma(t))) ** 2).sqrt()
        x = path.alpha(s) * data + (path.sigma(s) ** 2 - up**2).sqrt() * path.to_noise(data, x, t) + up * noise
    torch.testing.assert_close(values, x, atol=2e-3, rtol=0)
    assert [each["value-search"] for each in receipts] == [{"searched": 5, "changed": count} for count in changed.tolist()]


def test_where_values_are_equal_the_solver_has_its_own_step() -> None:
    same, receipts = run(
        modes(), ValueSearch(energy=FunctionEnergy(function=lambda data, layout: data.new_zeros(len(data))), candidates=4), [0, 1]
    )
    assert torch.equal(same, run(modes(), Ancestral(), [0, 1])[0])
    assert [each["value-search"] for each in receipts] == [{"searched": 9}] * 2


class Twice(Ancestral, kind="test-twice"):
    """Asks twice in every step, and says so."""

    def step(self, x: Tensor, memory: Memory, move: Move) -> Steps:
        yield Query(x, move.t)
        yield Query(x.clone(), move.t)
        move.count(self.kind, "steps", torch.ones(len(x)))
        return (yield from super().step(x, memory, move))


def test_rows_at_other_steps_count_as_they_do_alone() -> None:
    """One that ends while another goes on has nothing to choose, and its candidates after the first ask and count nothing."""
    oracle, solver = modes(), ValueSearch(energy=LARGE, candidates=3, solver=Twice())
    engine = Engine(oracle, rows=2)
    for seed, steps in ((0, 3), (1, 5)):
        engine.add(Request(oracle.layout([seed]), oracle.conditions([{}]), Sampling(steps=steps, solver=solver)))
    together = sorted(engine.stream(), key=lambda each: each.row)
    for done, (seed, steps) in zip(together, ((0, 3), (1, 5)), strict=True):
        values, receipts = run(modes(), solver, [seed], steps)
        torch.testing.assert_close(done.state["tokens"].values, values, atol=1e-5, rtol=0)
        assert [done.receipts] == receipts
        assert done.receipts["test-twice"] == {"steps": 3 * (steps - 1) + 1}


class Heard:
    """An energy of tokens that remembers what it was asked about."""

    def __init__(self) -> None:
        self.asked: list[tuple[Tensor, Layout]] = []

    def __call__(self, x: Tensor, layout: Layout) -> Tensor:
        self.asked.append((x, layout))
        return x.sum((1, 2))


def ragged(given: bool = False) -> tuple[tuple[StreamSpec, ...], Denoiser, State]:
    """Two streams, one of them perhaps always given, a denoiser of them, and rows of 5 and 3 tokens, of which the first is kept."""
    field, cloud = two_stream_specs()
    specs = (field, cloud.model_copy(update={"given": given}))
    torch.manual_seed(0)
    backbone = DiTConfig(depth=1, width=16, heads=2).build(specs, False)
    denoiser = Denoiser(backbone, Conditions(16, {}), {spec.name: Corruption(Rectified(), "velocity") for spec in specs})
    state = random_state(specs, [5, 3]).with_time({spec.name: torch.zeros(2, 5) for spec in specs})
    keep = torch.zeros(2, 5, dtype=torch.bool)
    keep[:, 0] = True
    return specs, shaken(denoiser).requires_grad_(False), state.with_kept("field", keep)


@pytest.mark.parametrize("noised", [False, True], ids=["clean", "noised"])
def test_tokens_are_judged_where_they_are_without_padding_and_with_those_that_are_kept(noised: bool) -> None:
    specs, denoiser, state = ragged()
    heard = Heard()
    sampling = Sampling(steps=3, streams={"field": StreamSampling(solver=ValueSearch(energy=FunctionEnergy(function=heard), candidates=2))})
    made = RowGenerator(denoiser, sampling, noised)(state, [{}] * 2)
    assert len(heard.asked) == 2 * 2, "two searched steps of two candidates"
    for x, layout in heard.asked:
        assert layout.spec == specs[0]
        assert torch.equal(layout.mask, state["field"].mask)
        assert torch.equal(layout.positions, state["field"].positions)
        assert not x[1, 3:].any(), "padding"
        assert torch.equal(x[:, 0], state["field"].values[:, 0]), "kept"
    assert torch.equal(made["field"].values[:, 0], state["field"].values[:, 0])
    for row in range(2):
        alone = RowGenerator(denoiser, sampling, noised)(state.select([row]).trimmed(), [{}])
        for name, stream in alone.streams.items():
            torch.testing.assert_close(made[name].values[row : row + 1, : stream.shape[1]], stream.values, atol=1e-5, rtol=0)


def test_a_stream_that_is_always_given_is_not_searched() -> None:
    _, denoiser, state = ragged(given=True)
    heard = Heard()
    sampling = Sampling(steps=3, solver=ValueSearch(energy=FunctionEnergy(function=heard), candidates=2))
    done = list(RowGenerator(denoiser, sampling, False).stream(state, [{}] * 2))
    assert {layout.spec.name for _, layout in heard.asked} == {"field"}
    assert [each.receipts["value-search"]["searched"] for each in done] == [2] * 2
    assert torch.equal(done[0].state["cloud"].values, state["cloud"].values[:1])


def test_samples_of_several_streams_are_decoded_whole_and_chosen_together() -> None:
    """Each stream has its candidate k from the same answer: all streams judge the same samples, and choose the same one."""
    _, denoiser, state = ragged()
    seen: list[State] = []

    def decode(state: State) -> list[float]:
        seen.append(state)
        return [float(sum(stream.values[row].sum() for stream in state.streams.values())) for row in range(len(state))]

    solver = ValueSearch(energy=SampleFunction(function=torch.tensor), candidates=3)
    made = RowGenerator(denoiser, Sampling(steps=3, solver=solver), False, decode=decode)(state, [{}] * 2)
    first, searched = seen[0], seen[1:]
    assert len(first) == 1, "what cannot be decoded is found before anything is made"
    assert len(searched) == 2 * 3 * 2, "two steps, three candidates, two streams"
    for field, cloud in zip(searched[::2], searched[1::2], strict=True):
        for name in ("field", "cloud"):
            assert torch.equal(field[name].values, cloud[name].values)
        assert torch.equal(field["field"].values[:, 0], state["field"].values[:, 0]), "kept"
        assert not field["cloud"].values[1, 3:].any(), "padding"
    for row in range(2):
        alone = RowGenerator(denoiser, Sampling(steps=3, solver=solver), False, decode=decode)(state.select([row]).trimmed(), [{}])
        for name, stream in alone.streams.items():
            torch.testing.assert_close(made[name].values[row : row + 1, : stream.shape[1]], stream.values, atol=1e-5, rtol=0)


def written(state: State) -> list[str]:
    """Tokens of a vocabulary as letters: each the likeliest."""
    return ["".join("abc_"[i] for i in row.argmax(1).tolist()) for row in state["tokens"].values]


FEW = SampleFunction(function=lambda words: torch.tensor([float(-word.count("a")) if word != "aaaa" else torch.nan for word in words]))
"""As many a as there can be; but all four is broken, and never chosen."""


def discrete(solver: Solver, seeds: list[int]) -> tuple[list[str], list[Mapping[str, Mapping[str, float]]]]:
    rows = torch.eye(4)[torch.cartesian_prod(*[torch.arange(3)] * 4)]
    oracle = DiscreteOracle(Masked(), rows, torch.ones(len(rows)))
    engine = Engine(oracle, rows=len(seeds), decode=written)
    engine.add(Request(oracle.layout(seeds), oracle.conditions([{}] * len(seeds)), Sampling(steps=4, solver=solver)))
    done = sorted(engine.stream(), key=lambda each: each.row)
    return written(State.cat([each.state for each in done])), [each.receipts for each in done]


def test_tokens_of_a_vocabulary_by_a_decoded_reward() -> None:
    """Independent letters of three kinds: alone a third are a; of four candidates a step most are. Rows are their own."""
    inner, seeds = AncestralDiscrete(), list(range(40))
    plain, fewest = discrete(inner, seeds)
    same, receipts = discrete(ValueSearch(energy=FEW, candidates=1, solver=inner), seeds)
    assert same == plain
    assert receipts == fewest
    found, receipts = discrete(ValueSearch(energy=FEW, candidates=4, solver=inner), seeds)
    assert abs("".join(plain).count("a") / 160 - 1 / 3) < 0.12
    assert "".join(found).count("a") / 160 > 0.6
    assert "aaaa" not in found
    assert [each["value-search"]["searched"] for each in receipts] == [4] * 40, "the last step draws tokens too: they are judged as drawn"
    assert [each["engine"]["network_calls"] for each in receipts] == [3 * (1 + 4) + 1] * 40
    assert discrete(ValueSearch(energy=FEW, candidates=4, solver=inner), [7])[0] == found[7:8]


def test_what_cannot_be_judged_is_refused() -> None:
    _, denoiser, state = ragged()

    def refusals(solver: Solver) -> list[str]:
        return Sampling(solver=solver).refusals(denoiser, False)

    axis = "energy 'roughness' goes along an axis 'z': stream 'field' has ['t', 'x']"
    assert axis in refusals(ValueSearch(energy=Roughness(along="z")))
    assert axis in refusals(Langevin(solver=ValueSearch(energy=Roughness(along="z")))), "inside of another, too"
    assert refusals(ValueSearch(energy=Roughness())) == ["energy 'roughness' goes along an axis '': stream 'cloud' has none"]
    alone = Sampling(streams={"field": StreamSampling(solver=ValueSearch(energy=Roughness()))})
    assert not alone.refusals(denoiser, False)
    for solver, problem in (
        (ValueSearch(energy=Roughness()), "stream 'cloud' has none"),
        (ValueSearch(energy=FEW), "only tokens are here"),
    ):
        with pytest.raises(ValueError, match=problem):
            list(RowGenerator(denoiser, Sampling(solver=solver), False).stream(state, [{}] * 2))
    with pytest.raises(LookupError, match="energy 'sample-function' was asked for of a `Move` made by hand without `judge`"):
        Move(Rectified(), *torch.zeros(3, 1, 1, 1), noise=lambda draw, purpose="": torch.zeros(1)).judge(
            FEW, state["cloud"].values, state.rows > 0
        )


def test_the_command_line_reads_it() -> None:
    found = requests.changes("{kind: value-search, candidates: 2, energy: {kind: roughness, along: x}}", "", "", [], [])
    assert found == {"solver": ValueSearch(energy=Roughness(along="x"), candidates=2)}
    with pytest.raises(RecipeError, match="energy: is missing"):
        requests.changes("value-search", "", "", [], [])


def test_a_solver_without_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="chooses among random steps, and 'ddim' makes none: take 'ancestral'"):
        ValueSearch(energy=LARGE, solver=DDIM())
