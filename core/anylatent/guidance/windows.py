"""Samples larger than the denoiser was trained on, seen through overlapping windows."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from anylatent.guidance.base import Branch
from anylatent.guidance.mixing import Members, Mixing
from anylatent.lazy import torch
from anylatent.moment import Here, Moment
from anylatent.node import Node, Stage
from anylatent.spec import StreamSpec
from anylatent.state import State, Stream
from anylatent.types import Bool, Float, Int, Tensor


class Window(Node):
    """How much of an axis the denoiser sees at once, and how much of that the next window sees again."""

    axis: str = Field(min_length=1, description="The axis's name.")
    size: float = Field(gt=0, description="In the axis's unit: as much as training saw.")
    overlap: float = Field(default=0.0, ge=0, description="In the axis's unit.")

    @model_validator(mode="after")
    def _moves(self) -> "Window":
        if self.overlap >= self.size:
            raise ValueError(f"windows of {self.size:g} along '{self.axis}' that overlap by {self.overlap:g} get nowhere: overlap less")
        return self


class Windows(Mixing, kind="windows"):
    """Large samples in overlapping windows of the size that training saw, whose predictions are averaged at every step.

    MultiDiffusion (Bar-Tal et al. 2023, 2302.08113, eq. 5): the weighted mean of what the windows say solves its
    least-squares problem; means of predicted clean tokens, which of all that can be averaged gives the best samples
    (SyncTweedies: Kim et al. 2024, 2403.14370). A window sees its tokens alone, their coordinates moved to where the
    sample begins. The last one ends with the sample. Streams without the axis are seen by all windows, and are their mean;
    streams that share it should reach equally far. A row that fits into one window is sampled as without, exactly.
    """

    mark: ClassVar[str] = "#"
    example: ClassVar[Mapping[str, Any]] = {"windows": [{"axis": "x", "size": 4.0}]}
    neutral: ClassVar[Mapping[str, Any] | None] = {"windows": [{"axis": "x", "size": 1e9}]}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "(1 + inner) * seen - 1"}
    systems: ClassVar[tuple[str, ...]] = ("MultiDiffusion (2302.08113)", "SyncTweedies, where its maps are crops (2403.14370)")

    windows: tuple[Window, ...] = Field(min_length=1, description="One an axis; with several, windows are their products.")
    weighting: Literal["uniform", "triangular"] = Field(
        default="triangular", description="What a window counts at a token: the same everywhere, or less towards its ends."
    )

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        """Windows that every sample has two of, or more, along its last axis."""
        windows = [
            {"axis": axis, "size": step * half, "overlap": step * (half // 2)}
            for axis, (step, steps) in list(stage.axes.items())[-1:]
            for half in [(steps + 1) // 2]
        ]
        return super().example_for(stage, variation) | ({"windows": windows} if windows else {})

    @model_validator(mode="after")
    def _one_an_axis(self) -> "Windows":
        names = [window.axis for window in self.windows]
        if len(set(names)) < len(names):
            raise ValueError(f"windows along {names}: expected one an axis")
        return self

    def refuses(self, specs: Sequence[StreamSpec]) -> str | None:
        known = sorted({axis.name for spec in specs for axis in spec.axes})
        missing = [window.axis for window in self.windows if window.axis not in known]
        if missing:
            return f"guidance '{self.kind}' goes along the axes {missing}: the streams have {known or 'no axes'}"
        return super().refuses(specs)

    def plan(self, moment: Moment) -> Sequence[Branch]:
        """Nothing: `follow` is told where the tokens are, and so how many windows there are."""
        return []

    def branches(self) -> set[str]:
        """Those of the first window, which have the names of the branches inside."""
        return self.inner.branches()

    def follow(self, predictions: Mapping[str, Mapping[str, Tensor]], here: Mapping[str, Here]) -> Sequence[Branch]:
        return self.expanded(self.inner.plan(next(iter(here.values())).moment), here)

    def members(self, branch: Branch, here: Mapping[str, Here]) -> Mapping[str, Branch]:
        counts = torch.stack([_Spans.of(self.windows, each.spec, each.positions, each.mask).counts for each in here.values()]).amax(0)
        specs = {name: each.spec for name, each in here.items()}
        found = {}
        for place in itertools.product(*(range(count) for count in counts.amax(0).tolist())):
            rows = (counts > torch.tensor(place, device=counts.device)).all(1)
            rows = rows if branch.rows is None else rows & branch.rows
            label = ".".join(map(str, place)) if any(place) else ""
            found[label] = replace(branch, rows=rows, sees=_through(self.windows, place, specs, branch.sees))
        return found

    def weights(self, labels: Sequence[str], predictions: Mapping[str, Members], here: Here) -> Mapping[str, Tensor]:
        spans = _Spans.of(self.windows, here.spec, here.positions, here.mask)
        found = {}
        for label in labels:
            place = tuple(map(int, label.split("."))) if label else (0,) * len(self.windows)
            found[label] = spans.weight(place, self.weighting)
            if spans.anywhere:  # a row that has not so many windows was not asked, and is 0
                asked = torch.stack([(members[label] != 0).flatten(1).any(1) for members in predictions.values() if label in members])
                found[label] = found[label] * asked.any(0)[:, None]
        total = torch.stack(list(found.values())).sum(0).clamp(min=1e-12)
        return {label: (weight / total)[..., None] for label, weight in found.items()}


@dataclass(frozen=True)
class _Spans:
    """Where the windows of one stream are, in each row.

    places: by window axis, the distance `(B, N)` of each token from the row's first, and the axis's step; None for an axis
    that the stream has not. reach `(B, axes)`: from the first token to behind the last. counts `(B, axes)`: windows.
    """

    windows: tuple[Window, ...]
    places: list[tuple[Float[Tensor, "rows tokens"], float] | None]
    mask: Bool[Tensor, "rows tokens"]
    reach: Float[Tensor, "rows axes"]
    counts: Int[Tensor, "rows axes"]

    @staticmethod
    def of(
        windows: tuple[Window, ...],
        spec: StreamSpec,
        positions: Float[Tensor, "rows tokens axes"],
        mask: Bool[Tensor, "rows tokens"],
    ) -> "_Spans":
        axes = {axis.name: (i, axis.step) for i, axis in enumerate(spec.axes)}
        places, reach, counts = [], [], []
        for window in windows:
            if window.axis not in axes:
                places.append(None)
                reach.append(positions.new_zeros(len(positions)))
                counts.append(torch.ones_like(reach[-1], dtype=torch.long))
                continue
            i, step = axes[window.axis]
            along = positions[..., i]
            first = along.masked_fill(~mask, float("inf")).amin(1, keepdim=True)
            places.append(((along - first).masked_fill(~mask, 0.0), step))
            reach.append(places[-1][0].amax(1) + step)
            more = (reach[-1] - window.size) / (window.size - window.overlap)
            counts.append((more - _NEARLY).ceil().clamp(min=0).long() + 1)
        return _Spans(windows, places, mask, torch.stack(reach, 1), torch.stack(counts, 1))

    @property
    def anywhere(self) -> bool:
        """Whether the stream has none of the axes."""
        return all(place is None for place in self.places)

    def start(self, axis: int, k: int) -> Float[Tensor, "rows 1"]:
        """How far from the row's first token its k-th window begins, in whole steps; the last ends with the row."""
        window, place = self.windows[axis], self.places[axis]
        assert place is not None, "asked of axes that the stream has"
        latest = (self.reach[:, axis] - window.size).clamp(min=0)
        step = place[1]
        return (((k * (window.size - window.overlap)) + torch.zeros_like(latest)).minimum(latest) / step + _NEARLY).floor()[:, None] * step

    def weight(self, place: tuple[int, ...], weighting: str) -> Float[Tensor, "rows tokens"]:
        """What a window counts at each token, before all are made to sum to 1; 0 outside of it."""
        weight = self.mask.to(self.reach.dtype)
        for axis, k in enumerate(place):
            if (own := self.places[axis]) is None:
                continue
            along, step = own
            size = self.windows[axis].size
            inside = along - self.start(axis, k)
            there = (inside > -_NEARLY * step) & (inside < size - _NEARLY * step) & (k < self.counts[:, axis, None])
            centre = inside + step / 2
            height = torch.minimum(centre, size - centre).clamp(min=_NEARLY * step) if weighting == "triangular" else 1.0
            weight = weight * there * height
        return weight


_NEARLY = 1e-3
"""Share of a step by which coordinates may be off the grid."""


def _through(
    windows: tuple[Window, ...], place: tuple[int, ...], specs: Mapping[str, StreamSpec], before: Callable[[State], State] | None
) -> Callable[[State], State]:
    """What is seen through a window: its tokens, as if the sample began there."""

    def sees(state: State) -> State:
        state = state if before is None else before(state)
        return replace(state, streams={name: seen(stream, specs[name]) for name, stream in state.streams.items()})

    def seen(stream: Stream, spec: StreamSpec) -> Stream:
        spans = _Spans.of(windows, spec, stream.positions, stream.mask)
        if spans.anywhere:
            return stream
        moved = torch.zeros_like(stream.positions)
        for axis, k in enumerate(place):
            if spans.places[axis] is not None:
                column = [each.name for each in spec.axes].index(windows[axis].axis)
                moved[..., column] = spans.start(axis, k)
        return replace(stream, positions=stream.positions - moved, mask=spans.weight(place, "uniform") > 0)

    return sees
