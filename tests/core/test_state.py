import pytest
import torch

from anylatent.state import State, Stream, Tally
from anylatent.testing.backbones import random_state, two_stream_specs


def test_rows_of_different_sizes_share_a_batch_and_come_apart_again() -> None:
    specs = two_stream_specs()
    parts = [random_state(specs, [3, 2], seed=1), random_state(specs, [5], seed=2)]
    together = State.cat(parts)
    assert len(together) == 3
    assert together["field"].shape == (3, 5, 5)
    back = together.select([2]).trimmed()
    for name in ("field", "cloud"):
        for part in ("values", "positions", "mask", "time"):
            assert torch.equal(getattr(back[name], part), getattr(parts[1][name], part))
    assert not together["field"].values[1, 2:].any()
    by_mask = together.select(torch.tensor([True, False, True]))
    assert torch.equal(by_mask.seeds, together.seeds[[0, 2]])


def test_states_of_other_streams_are_refused() -> None:
    one, two = State.of({"a": Stream.of(torch.zeros(1, 2, 3))}), State.of({"b": Stream.of(torch.zeros(1, 2, 3))})
    with pytest.raises(ValueError, match="different streams cannot share a batch"):
        State.cat([one, two])


def test_kept_tokens_stay_at_time_0() -> None:
    state = State.of({"a": Stream.of(torch.zeros(1, 3, 2))})
    kept = state.with_kept("a", torch.tensor([[True, False, False]])).with_time({"a": torch.full((1, 3), 0.7)})
    assert kept["a"].time.tolist() == [[0.0, pytest.approx(0.7), pytest.approx(0.7)]]


def test_a_tally_adds_by_row_and_leaves_out_zeros() -> None:
    tally = Tally()
    tally.add("calls", torch.tensor([0, 5]))
    tally.add("calls", torch.tensor([5]), 2)
    tally.add("tokens", torch.tensor([5, 0]), torch.tensor([7, 3]))
    assert tally.of(5) == {"calls": 3.0, "tokens": 7.0}
    assert tally.of(0) == {"calls": 1.0, "tokens": 3.0}
    assert tally.of(3) == {}
    assert tally.of(99) == {}
