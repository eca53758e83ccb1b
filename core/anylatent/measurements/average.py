"""Means and sums of tokens: few numbers that many tokens answer for."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.measurements.base import Layout, Mixing
from anylatent.measurements.regions import unknown_axes
from anylatent.node import Stage
from anylatent.spec import StreamSpec
from anylatent.types import Bool, Float, Tensor


class Average(Mixing, kind="average"):
    """The mean of each group of neighbours: super-resolution is its inverse. It stands at the group's first token."""

    example: ClassVar[Mapping[str, Any]] = {"over": {"x": 2, "y": 2}}

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return {"over": dict.fromkeys(stage.axes, 2), "stream": stage.stream}

    over: dict[str, int] = Field(default={}, description="Neighbours along each named axis; 0: all of it.")
    tokens: int = Field(default=2, ge=0, description="For pure sets: how many elements, in their order, are a group; 0: all.")

    def refuses(self, spec: StreamSpec) -> str | None:
        return super().refuses(spec) or _grouping(spec, self.over)

    def matrix(self, layout: Layout) -> Float[Tensor, "rows tokens tokens"]:
        together = groups(layout, self.over, self.tokens)
        return _first(together).to(layout.positions.dtype) / together.sum(2, keepdim=True).clamp(min=1)


class Total(Mixing, kind="total"):
    """The sum of all tokens along an axis: of a chain of actions it is where they lead. It stands at the first of them."""

    along: tuple[str, ...] = Field(default=(), description="The axes that are summed over; empty: all tokens are.")

    def refuses(self, spec: StreamSpec) -> str | None:
        return super().refuses(spec) or unknown_axes([spec], dict.fromkeys(self.along))

    def matrix(self, layout: Layout) -> Float[Tensor, "rows tokens tokens"]:
        over = dict.fromkeys(self.along or [axis.name for axis in layout.spec.axes], 0)
        return _first(groups(layout, over, 0)).to(layout.positions.dtype)


def groups(layout: Layout, over: dict[str, int], tokens: int) -> Bool[Tensor, "rows tokens tokens"]:
    """Which tokens belong together: those in one cell of `over` steps of each axis (0: all steps; an axis not named: 1)."""
    together = layout.mask[:, :, None] & layout.mask[:, None]
    if not layout.spec.axes:
        cells = [(layout.mask.cumsum(1) - 1) // tokens] if tokens else []
    else:
        sizes = [over.get(axis.name, 1) for axis in layout.spec.axes]
        cells = [layout.cells(axis) // size for axis, size in enumerate(sizes) if size]
    for cell in cells:
        together = together & (cell[:, :, None] == cell[:, None])
    return together


def _first(together: Bool[Tensor, "rows tokens tokens"]) -> Bool[Tensor, "rows tokens tokens"]:
    """The groups, each in the row of its first token only."""
    return together & ~together.tril(-1).any(2, keepdim=True)


def _grouping(spec: StreamSpec, over: dict[str, int]) -> str | None:
    if any(size < 0 for size in over.values()):
        return f"groups of {min(over.values())} neighbours: expected 0 (all) or more, by axis"
    if spec.axes and not over:
        return f"measurement 'average' needs `over`: neighbours by axis, of {[axis.name for axis in spec.axes]}"
    return unknown_axes([spec], over)
