"""Tokens in flight: the only thing that passes through the loop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from anylatent import random
from anylatent.lazy import torch
from anylatent.types import Bool, Float, Int, Tensor


@dataclass(frozen=True)
class Stream:
    """Tokens of one kind, padded to the longest row.

    values `(B, N, C)`; positions `(B, N, P)` in the units of the stream's axes; mask `(B, N)`, true where there is a
    token; time `(B, N)`, 0 = data and 1 = prior; keep `(B, N)`, true where the token is given and must not change.
    told `(B, N, C)`: what a self-conditioned denoiser last said of the tokens, 0 where nothing; None: nothing at all.
    """

    values: Float[Tensor, "rows tokens width"]
    positions: Float[Tensor, "rows tokens axes"]
    mask: Bool[Tensor, "rows tokens"]
    time: Float[Tensor, "rows tokens"]
    keep: Bool[Tensor, "rows tokens"]
    told: Float[Tensor, "rows tokens width"] | None = None

    @staticmethod
    def of(values: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> "Stream":
        """Clean tokens: time 0, nothing kept; without `positions` a pure set, without `mask` no padding."""
        rows, tokens = values.shape[:2]
        return Stream(
            values,
            values.new_zeros(rows, tokens, 0) if positions is None else positions,
            torch.ones(rows, tokens, dtype=torch.bool, device=values.device) if mask is None else mask,
            values.new_zeros(rows, tokens),
            torch.zeros(rows, tokens, dtype=torch.bool, device=values.device),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, tokens, width."""
        rows, tokens, width = self.values.shape
        return rows, tokens, width

    def map(self, change: Callable[[Tensor], Tensor]) -> "Stream":
        """`change` applied to each of its tensors."""
        told = None if self.told is None else change(self.told)
        return Stream(change(self.values), change(self.positions), change(self.mask), change(self.time), change(self.keep), told)

    def padded(self, tokens: int) -> "Stream":
        """This stream with room for `tokens` tokens a row; new ones are masked."""
        more = tokens - self.values.shape[1]
        if more <= 0:
            return self
        return self.map(lambda x: torch.cat((x, x.new_zeros(x.shape[0], more, *x.shape[2:])), 1))


@dataclass(frozen=True)
class State:
    """Named streams of B rows, with the id and the seed `(B,)` of each row."""

    streams: Mapping[str, Stream]
    rows: Int[Tensor, " rows"]
    seeds: Int[Tensor, " rows"]

    @staticmethod
    def of(
        streams: Mapping[str, Stream], seeds: Sequence[int] | Tensor | None = None, rows: Sequence[int] | Tensor | None = None
    ) -> "State":
        first = next(iter(streams.values()))
        count, device = first.shape[0], first.values.device

        def ids(given: Sequence[int] | Tensor | None) -> Tensor:
            return torch.arange(count, device=device) if given is None else torch.as_tensor(given, dtype=torch.int64, device=device)

        return State(dict(streams), ids(rows), ids(seeds))

    def __len__(self) -> int:
        return self.rows.shape[0]

    def __getitem__(self, stream: str) -> Stream:
        return self.streams[stream]

    @property
    def device(self):
        return self.rows.device

    def map(self, change: Callable[[Stream], Stream]) -> "State":
        return replace(self, streams={name: change(stream) for name, stream in self.streams.items()})

    def to(self, device: Any) -> "State":
        moved = self.map(lambda stream: stream.map(lambda x: x.to(device)))
        return replace(moved, rows=self.rows.to(device), seeds=self.seeds.to(device))

    def with_values(self, values: Mapping[str, Tensor]) -> "State":
        """The same tokens with other values, by stream."""
        return replace(self, streams=dict(self.streams) | {name: replace(self.streams[name], values=x) for name, x in values.items()})

    def with_time(self, times: Mapping[str, Tensor]) -> "State":
        """The same tokens at other times `(B, N)`, by stream; kept tokens stay at time 0."""
        return replace(
            self,
            streams=dict(self.streams)
            | {name: replace(self.streams[name], time=t.masked_fill(self.streams[name].keep, 0.0)) for name, t in times.items()},
        )

    def with_kept(self, stream: str, keep: Tensor) -> "State":
        """The same tokens with those of `stream` where `keep` `(B, N)` is true given: they will not change."""
        return replace(self, streams=dict(self.streams) | {stream: replace(self.streams[stream], keep=keep)})

    def with_told(self, told: Mapping[str, Tensor | None]) -> "State":
        """The same tokens, with what the denoiser last said of them, by stream."""
        return replace(self, streams=dict(self.streams) | {name: replace(self.streams[name], told=x) for name, x in told.items()})

    def select(self, rows: Tensor | Sequence[int]) -> "State":
        """The rows at these indices (or where a `(B,)` mask is true), in this order; padding is kept."""
        index = torch.as_tensor(rows, device=self.device)
        taken = self.map(lambda stream: stream.map(lambda x: x[index]))
        return replace(taken, rows=self.rows[index], seeds=self.seeds[index])

    @staticmethod
    def cat(states: "Sequence[State]") -> "State":
        """The rows of several states with the same streams, padded to the longest."""
        if len(states) == 1:
            return states[0]
        names = list(states[0].streams)
        for state in states:
            if set(state.streams) != set(names):
                raise ValueError(f"states of different streams cannot share a batch: {names} and {list(state.streams)}")
        streams = {}
        for name in names:
            tokens = max(state[name].shape[1] for state in states)
            parts = [state[name].padded(tokens) for state in states]
            told = [torch.zeros_like(p.values) if p.told is None else p.told for p in parts]
            joined = (torch.cat([getattr(p, part) for p in parts]) for part in ("values", "positions", "mask", "time", "keep"))
            streams[name] = Stream(*joined, told=None if all(p.told is None for p in parts) else torch.cat(told))
        return State(streams, torch.cat([s.rows for s in states]), torch.cat([s.seeds for s in states]))

    def trimmed(self) -> "State":
        """Without the padding that no row needs."""

        def trim(stream: Stream) -> Stream:
            longest = int(stream.mask.any(0).nonzero().max()) + 1 if stream.mask.any() else 1
            return stream.map(lambda x: x[:, :longest])

        return self.map(trim)

    def noise(self, stream: str, step: int | Tensor, draw: int, purpose: str = "") -> Float[Tensor, "rows tokens width"]:
        """Standard normal noise of this stream's shape: a function of (row seed, stream, purpose, step, draw) alone.

        What does not make samples in steps names its own `purpose`, and so never draws a number that a step draws.
        """
        _, tokens, width = self.streams[stream].shape
        return random.normal(self.seeds, f"{stream}/{purpose}" if purpose else stream, step, draw, tokens, width)


@dataclass
class Receipt:
    """What a method did, counted: never a silent no-op.

    `counts` are totals over rows (network calls, rows skipped, weights patched); `rows` are the same by row id.
    """

    method: str
    counts: dict[str, float] = field(default_factory=dict)
    rows: dict[int, dict[str, float]] = field(default_factory=dict)
    note: str = ""


class Tally:
    """Counts by name and row id, kept as tensors while rows move; a row's are handed over when it is done."""

    def __init__(self) -> None:
        self._counts: dict[str, Tensor] = {}

    def add(self, name: str, rows: Int[Tensor, " rows"], amounts: Tensor | float = 1.0) -> None:
        """Add to the counts of these row ids (of which none is there twice, or `amounts` is one number)."""
        if not len(rows):
            return
        counts = self._counts.get(name, torch.zeros(0))
        more = int(rows.max()) + 1 - len(counts)
        if more > 0:
            counts = self._counts[name] = torch.cat((counts, torch.zeros(max(more, len(counts)))))
        added = amounts.float().cpu() if isinstance(amounts, torch.Tensor) else torch.full((len(rows),), float(amounts))
        counts.index_add_(0, rows.cpu(), added)

    def of(self, row: int) -> dict[str, float]:
        """The counts of a row that are not 0."""
        found = {name: float(counts[row]) for name, counts in self._counts.items() if row < len(counts)}
        return {name: count for name, count in found.items() if count}


def spent(tallies: Mapping[str, Tally], row: int) -> dict[str, dict[str, float]]:
    """What each method did for a row, so far: its receipts."""
    return {name: counts for name, tally in tallies.items() if (counts := tally.of(row))}


def from_first(places: Tensor, mask: Bool[Tensor, "rows tokens"]) -> Tensor:
    """How far along an axis each token `(B, N)` is from the row's first, in the unit of `places`; 0 in the padding."""
    return (places - places.masked_fill(~mask, torch.inf).amin(1, keepdim=True)).masked_fill(~mask, 0)
