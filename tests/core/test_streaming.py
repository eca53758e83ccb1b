"""Tokens that are handed out before their row is done."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_generators import FIELD, network

from anylatent.best_of import BestOf
from anylatent.energies import Roughness
from anylatent.engine import Finished
from anylatent.generation import RowGenerator, Settled
from anylatent.hooks.residual_cache import ResidualCache
from anylatent.paths.vocabulary import Masked
from anylatent.schedules import Pyramid, Restart, Rise
from anylatent.solvers.exponential import SDEDPMpp
from anylatent.solvers.invertible import EDICT
from anylatent.solvers.unmasking import Unmask
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.grid import GridConfig

LAGS = Pyramid(lag=2, axis="t", block=0.1)
WORDS = StreamSpec(
    name="words", kind="categorical", width=4, axes=(AxisSpec(name="t", unit="s", step=0.1),), order="sequence", prior="mask"
)
METHODS = {
    "block after block": {"schedule": LAGS},
    "one by one": {"schedule": Pyramid(lag=3, axis="t", block=0.1)},
    "with noise of its own": {"schedule": LAGS, "solver": SDEDPMpp(eta=0.5)},
    "by a solver that ends before 0": {"schedule": LAGS, "solver": EDICT()},
    "all at once": {},
    "up and down": {"schedule": Restart(intervals=(Rise(low=0.3, high=0.7),))},
}


def field(*blocks: int) -> State:
    """Rows of so many blocks of two tokens, each with a set of three."""
    longest = max(blocks)
    positions = torch.cartesian_prod(0.1 * torch.arange(longest), torch.arange(2.0)).expand(len(blocks), -1, -1)
    mask = torch.arange(longest)[None, :, None].expand(len(blocks), -1, 2).flatten(1) < torch.tensor(blocks)[:, None]
    streams = {
        "field": Stream.of(torch.zeros(len(blocks), 2 * longest, 5), positions, mask),
        "cloud": Stream.of(torch.zeros(len(blocks), 3, 2)),
    }
    return State.of(streams, [7 + row for row in range(len(blocks))])


def words() -> State:
    return State.of({"words": Stream.of(torch.zeros(2, 3, 4), 0.1 * torch.arange(3.0)[None, :, None].expand(2, -1, -1))}, [3, 4])


def streamed(made: RowGenerator, state: State) -> tuple[dict[int, list[Settled]], dict[int, Finished]]:
    """What each row was handed out in, and as a whole: the whole comes last."""
    parts: dict[int, list[Settled]] = {row: [] for row in range(len(state))}
    done: dict[int, Finished] = {}
    for event in made.settling(state, [{}] * len(state)):
        assert event.row not in done, "its row is done"
        if isinstance(event, Finished):
            done[event.row] = event
        else:
            parts[event.row].append(event)
    assert not len(made.engine)
    return parts, done


def the_parts_are_of_the_whole(parts: list[Settled], whole: Finished, state: State, row: int) -> None:
    for name, stream in state.streams.items():
        fresh = torch.cat([part.fresh.get(name, torch.tensor([], dtype=torch.int64)) for part in parts])
        assert fresh.sort().values.tolist() == stream.mask[row].nonzero()[:, 0].tolist(), "each token, once"
    so_far = {name: torch.zeros(0, dtype=torch.int64) for name in state.streams}
    for part in parts:
        for name, fresh in part.fresh.items():
            so_far[name] = torch.cat((so_far[name], fresh))
            assert torch.equal(part.tokens(name), whole.state[name].values[0, fresh])
        for name, known in so_far.items():
            mask = part.state[name].mask[0]
            assert mask.nonzero()[:, 0].tolist() == known.sort().values.tolist()
            assert not part.state[name].values[0, ~mask].any(), "what is not settled is not shown"
    assert parts[-1].receipts == whole.receipts


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_parts_are_what_the_finished_row_holds(method: dict[str, Any]) -> None:
    """Bit for bit, every token once, rows of several lengths, two at a time; and the rows are those of a call that does not listen."""
    state = field(3, 1, 2)
    parts, done = streamed(network(batch=2, **method), state)
    for row in range(3):
        the_parts_are_of_the_whole(parts[row], done[row], state, row)
    made = network(batch=2, **method)(state, [{}] * 3)
    for name in ("field", "cloud"):
        for row in range(3):
            mask = state[name].mask[row]
            assert torch.equal(done[row].state[name].values[0, : len(mask)][mask], made[name].values[row][mask])


def test_parts_of_words_are_what_the_finished_row_holds() -> None:
    generator = network((WORDS,), {"words": Masked()}, schedule=Pyramid(lag=2, block=0.1), solver=Unmask())
    parts, done = streamed(generator, words())
    assert len(parts[0]) == 3
    for row in range(2):
        the_parts_are_of_the_whole(parts[row], done[row], words(), row)


def test_the_first_come_early() -> None:
    """After the steps of one block, of which each later one takes `lag` more; without a lag all come at once."""
    calls = {}
    for lag in (0, 1, 3):
        parts, _ = streamed(network(schedule=Pyramid(lag=lag, axis="t", block=0.1)), field(3, 2))
        calls[lag] = [[part.receipts["engine"]["network_calls"] for part in parts[row] if "field" in part.fresh] for row in (0, 1)]
    assert calls == {0: [[3], [3]], 1: [[3, 4, 5], [3, 4]], 3: [[3, 6, 9], [3, 6]]}


def test_parts_say_where_they_are() -> None:
    parts, _ = streamed(network(schedule=LAGS), field(2))
    first, second = parts[0]
    assert {name: fresh.tolist() for name, fresh in first.fresh.items()} == {"field": [0, 1], "cloud": [0, 1, 2]}
    assert first.spans == {"field": {"t": (0.0, 0.0), "x": (0.0, 1.0)}, "cloud": {}}
    assert second.spans == {"field": {"t": (pytest.approx(0.1), pytest.approx(0.1)), "x": (0.0, 1.0)}}


@pytest.mark.parametrize("more", [{}, {"hooks": (ResidualCache(threshold=1e9, first=1, last=1),)}], ids=["plain", "by its last step"])
def test_rows_settle_as_they_would_alone(more: dict[str, Any]) -> None:
    """In a batch, while others join, and by the same calls: a row's last step is its own, not that of a longer one."""
    together, _ = streamed(network(schedule=LAGS, batch=2, **more), field(3, 1, 2))
    for row, blocks in enumerate((3, 1, 2)):
        alone, _ = streamed(network(schedule=LAGS, **more), replace(field(blocks), seeds=torch.tensor([7 + row])))
        assert len(alone[0]) == len(together[row])
        for mine, theirs in zip(alone[0], together[row], strict=True):
            assert mine.receipts == theirs.receipts
            for name in mine.fresh:
                assert mine.fresh[name].tolist() == theirs.fresh[name].tolist()
                torch.testing.assert_close(mine.tokens(name), theirs.tokens(name), atol=1e-5, rtol=0)


def test_given_tokens_are_settled_from_the_first_step_on() -> None:
    state = field(2)
    given = torch.tensor([[False, True, False, True]])
    state = state.with_values({"field": torch.ones_like(state["field"].values)}).with_kept("field", given)
    parts, done = streamed(network(schedule=LAGS), state)
    assert [{name: fresh.tolist() for name, fresh in part.fresh.items()} for part in parts[0]] == [
        {"field": [1, 3]}, {"field": [0], "cloud": [0, 1, 2]}, {"field": [2]},
    ]  # fmt: skip
    assert (parts[0][0].tokens("field") == 1).all()
    the_parts_are_of_the_whole(parts[0], done[0], state, 0)


def test_the_best_of_several_comes_whole() -> None:
    state = field(2, 3)
    state = replace(state, streams={"field": state["field"]})
    parts, done = streamed(network((FIELD,), schedule=LAGS, best_of=BestOf(count=2, energy=Roughness())), state)
    assert parts == {0: [], 1: []}
    assert set(done) == {0, 1}


def test_whoever_stops_listening_stops_the_rows() -> None:
    made = network(schedule=LAGS)
    listening = made.settling(field(3, 3), [{}] * 2)
    assert isinstance(next(listening), Settled)
    listening.close()
    assert not len(made.engine)


def test_a_beginning_is_all_up_to_some_place() -> None:
    """Of tokens that settled in any order: the first axis along which some are there whole."""
    axes = (AxisSpec(name="y", unit="px"), AxisSpec(name="x", unit="px"))
    sample = torch.arange(24.0).reshape(4, 6, 1)
    tokenizer = GridConfig(patch=(2, 2)).build(sample, axes)
    tokenizer.fit([sample])
    whole = tokenizer.encode([sample])

    def decoded(*settled: int) -> torch.Tensor | None:
        mask = torch.isin(torch.arange(6), torch.tensor(settled))[None]
        values = whole["tokens"].values * mask[..., None]
        beginning = tokenizer.beginning(replace(whole, streams={"tokens": replace(whole["tokens"], values=values, mask=mask)}), whole)
        return None if beginning is None else tokenizer.decode(beginning)[0]

    for settled, rows, columns in (((0, 1, 2), 2, 6), ((0, 1, 2, 4, 5), 2, 6), ((0, 3), 4, 2), ((0, 1, 3, 4), 4, 4), (range(6), 4, 6)):
        made = decoded(*settled)
        assert made is not None
        assert torch.equal(made, sample[:rows, :columns])
    assert decoded(0, 1) is None
    assert decoded(1, 2, 3, 4, 5) is None
