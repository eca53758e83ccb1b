"""Energies of samples: what is wanted of them, as a number that is to be low."""

from typing import ClassVar

from pydantic import Field

from anylatent.measurements.base import Code, Layout
from anylatent.node import Node
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor


class Energy(Node, family="energy"):
    """A number a row that falls as clean tokens come nearer to what is wanted, and can be differentiated."""

    def refuses(self, spec: StreamSpec) -> str | None:
        """Why it has no value of such a stream, or None."""
        return None

    def value(self, x: Float[Tensor, "rows tokens width"], layout: Layout) -> Float[Tensor, " rows"]:
        """The energy of clean tokens `x`; padding must not matter."""
        raise NotImplementedError


class Roughness(Energy, kind="roughness"):
    """Half the squared differences between neighbours along an axis, summed: smooth motions, quiet pictures."""

    along: str = Field(default="", description="The axis; empty: the stream's first.")

    def refuses(self, spec: StreamSpec) -> str | None:
        names = [axis.name for axis in spec.axes]
        if names and self.along in ("", *names):
            return None
        return f"energy 'roughness' goes along an axis '{self.along}': stream '{spec.name}' has {names or 'none'}"

    def value(self, x: Float[Tensor, "rows tokens width"], layout: Layout) -> Float[Tensor, " rows"]:
        problem = self.refuses(layout.spec)
        if problem:
            raise ValueError(problem)
        names = [axis.name for axis in layout.spec.axes]
        chosen = names.index(self.along) if self.along else 0
        near = layout.mask[:, :, None] & layout.mask[:, None]
        for axis in range(len(names)):
            cell = layout.cells(axis)
            near = near & (cell[:, None] - cell[:, :, None] == (1 if axis == chosen else 0))
        squares = (x[:, :, None] - x[:, None]).square().sum(-1)
        return 0.5 * (squares * near).flatten(1).sum(1)


class FunctionEnergy(Energy, kind="function"):
    """Any function of clean tokens `(B, N, C)` and their `Layout` to `(B,)` that can be differentiated; from Python only."""

    python_only: ClassVar[bool] = True

    function: Code = Field(description="Of tokens and a `Layout`.")

    def value(self, x: Float[Tensor, "rows tokens width"], layout: Layout) -> Float[Tensor, " rows"]:
        return self.function.by_row(x, layout)
