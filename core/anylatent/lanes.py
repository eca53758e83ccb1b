"""Lanes: rows that move alike, each at its own step of its own times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from anylatent.condition import Condition
from anylatent.sampling import Sampling
from anylatent.solvers.base import Memory
from anylatent.state import State
from anylatent.types import Float, Int, Tensor


@dataclass(frozen=True)
class Manner:
    """How all rows of a lane move."""

    sampling: Sampling
    noised: bool
    inverted: bool
    rests: bool
    """Whether some step rises or goes nowhere: a solver does not make it."""


@dataclass
class Lane:
    """Rows that move alike. Every tensor has a leading row axis; rows join by `cat` and leave by `select`."""

    manner: Manner
    state: State
    given: dict[str, Tensor]
    noise: dict[str, Tensor]
    memory: dict[str, Memory]
    recall: dict[str, dict[str, Memory]]
    """What guidance and corrections remember, by method and stream."""
    recorded: dict[str, Float[Tensor, "rows steps tokens width"]]
    measured: dict[str, dict[str, Tensor]]
    trail: dict[str, Float[Tensor, "rows times tokens width"]]
    """Where rows have been, if that was asked for."""
    times: dict[str, Float[Tensor, "rows times #tokens"]]
    tables: dict[str, Float[Tensor, "rows steps #tokens numbers"]]
    step: Int[Tensor, " rows"]
    steps: Int[Tensor, " rows"]
    conditions: dict[str, dict[str, Condition]]
    """By denoiser: what is asked, the null, and the variants that guidance asks; without conditions there is no null."""
    classes: dict[str, Int[Tensor, " rows"]]
    """By the conditions of classifiers: which class each row is asked to be, -1 for none."""

    def __len__(self) -> int:
        return len(self.state)

    @property
    def sampling(self) -> Sampling:
        return self.manner.sampling

    def select(self, rows: Tensor) -> "Lane":
        return Lane(self.manner, *(_selected(getattr(self, part), rows) for part in _PARTS))

    def kept(self, rows: Tensor) -> tuple[dict[str, Memory], dict[str, Tensor]]:
        """What solvers remember of these rows, and where they have been."""
        return _selected(self.memory, rows), _selected(self.trail, rows)

    @staticmethod
    def cat(lanes: "Sequence[Lane]") -> "Lane":
        return Lane(lanes[0].manner, *(_joined([getattr(lane, part) for lane in lanes]) for part in _PARTS))

    def settled(self) -> State:
        """The rows with only the tokens that no step to come changes: whose times rest from here on, which are given, or absent."""
        streams = {}
        for name, stream in self.state.streams.items():
            step = torch.arange(self.times[name].shape[1] - 1, device=self.step.device)[:, None]
            ahead = (step >= self.step[:, None, None]) & (step < self.steps[:, None, None])
            moves = ((self.times[name].diff(dim=1) != 0) & ahead).any(1)
            mask = stream.mask & (~moves | stream.keep | (stream.time == 1))
            streams[name] = replace(stream, values=stream.values * mask[..., None], mask=mask)
        return replace(self.state, streams=streams)

    def place(self) -> Int[Tensor, " rows"]:
        """Which step of its times each row is in: inverted rows go through them from the last to the first."""
        return self.steps - 1 - self.step if self.manner.inverted else self.step


TOLD = "told"
"""Among what methods remember of a stream: what its denoiser said of it last, if it is told of that (`Stream.told`)."""

_PARTS = [part.name for part in fields(Lane) if part.name != "manner"]


def _selected(part: Any, rows: Tensor) -> Any:
    if isinstance(part, dict):
        return {name: _selected(inner, rows) for name, inner in part.items()}
    return part[rows] if isinstance(part, torch.Tensor) else part.select(rows)


def _joined(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, dict):
        return {name: _joined([part[name] for part in parts]) for name in first}
    return cat_padded(parts) if isinstance(first, torch.Tensor) else type(first).cat(parts)


def cat_padded(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate along rows, padding all other axes with zeros to the largest."""
    if len(tensors) == 1:
        return tensors[0]
    sizes = [max(x.shape[axis] for x in tensors) for axis in range(1, tensors[0].dim())]
    padded = []
    for x in tensors:
        pads = [amount for axis in range(x.dim() - 1, 0, -1) for amount in (0, sizes[axis - 1] - x.shape[axis])]
        padded.append(torch.nn.functional.pad(x, pads) if any(pads) else x)
    return torch.cat(padded)


def own_steps(times: Mapping[str, Tensor], rows: int) -> Int[Tensor, " rows"]:
    """How many steps each row makes: those that a longer one still makes are none of a shorter one's."""
    moves = torch.stack([(each.diff(dim=1) != 0).any(2).expand(rows, -1) for each in times.values()]).any(0)
    return (moves * torch.arange(1, moves.shape[1] + 1)).amax(1).clamp(min=1)


def widened(x: Tensor) -> Tensor:
    """Numbers of rows, with an axis besides theirs: so lanes can be joined."""
    return x[:, None] if x.dim() == 1 else x
