"""The contract of a measurement, and what those that mix tokens share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field, model_serializer, model_validator

from anylatent.lazy import torch
from anylatent.node import Node, Spec
from anylatent.spec import StreamSpec
from anylatent.types import Bool, Float, Tensor


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a stream are: its spec, which of them there are, and their places in the units of its axes."""

    spec: StreamSpec
    mask: Bool[Tensor, "rows tokens"]
    positions: Float[Tensor, "rows tokens axes"]

    @staticmethod
    def of(there: Any, spec: StreamSpec | None = None) -> "Layout":
        """That of a `Here`, or of a `Stream` with its spec."""
        return Layout(spec or there.spec, there.mask, there.positions)

    def cells(self, axis: int) -> Tensor:
        """Which step of an axis each token is in, `(B, N)`, counted from the row's first."""
        place = self.positions[..., axis]
        first = place.masked_fill(~self.mask, torch.inf).amin(1, keepdim=True)
        return ((place - first) / self.spec.axes[axis].step).round().where(self.mask, 0).long()


class Measurement(Node, family="measurement"):
    """What is known of a stream's clean tokens: y = A x0 + `noise` z, with z standard normal. Rows do not touch each other.

    y has a leading row axis and is 0 where nothing is measured; padding it with zeros must mean nothing, so that rows of
    other sizes may join. Linear ones have the singular values s of A = U s V^T: all that corrections do is a function of them.
    """

    linear: ClassVar[bool] = True
    """Whether it has `adjoint` and `filtered`; else it can only be differentiated."""

    noise: float = Field(default=0.0, ge=0, description="Standard deviation of what is measured, in that of the tokens (1).")
    stream: str = Field(default="", description="The stream that it is of; empty: every one that is made.")

    def refuses(self, spec: StreamSpec) -> str | None:
        """Why it cannot measure such a stream, or None."""
        return None

    def measures(self, spec: StreamSpec) -> bool:
        """Whether it is about this stream."""
        return not spec.given and self.stream in ("", spec.name)

    def apply(self, x: Float[Tensor, "rows tokens width"], layout: Layout) -> Tensor:
        """A x: `(B, …)`."""
        raise NotImplementedError

    def support(self, x: Float[Tensor, "rows tokens width"], layout: Layout) -> Tensor:
        """1 where y has a value, of its shape; 0 elsewhere."""
        return torch.ones_like(self.apply(x, layout))

    def adjoint(self, y: Tensor, layout: Layout) -> Float[Tensor, "rows tokens width"]:
        """A^T y: <A x, y> = <x, A^T y>."""
        return self.filtered(y, layout, lambda s: s)

    def pseudo_inverse(self, y: Tensor, layout: Layout) -> Float[Tensor, "rows tokens width"]:
        """A^+ y: the shortest x with A x nearest to y."""
        return self.filtered(y, layout, lambda s: 1 / s)

    def filtered(self, y: Tensor, layout: Layout, weight: Callable[[Tensor], Tensor]) -> Float[Tensor, "rows tokens width"]:
        """V weight(s) U^T y, over the singular values s > 0, which broadcast `(B, K, 1)`."""
        raise NotImplementedError


class Mixing(Measurement):
    """The same linear mix of tokens in each of the `channels`: a subclass gives `matrix`, of which y's rows are at tokens."""

    orthogonal: ClassVar[bool] = True
    """Whether the rows of its matrix are orthogonal: the singular values are then their lengths."""

    channels: tuple[int, ...] = Field(default=(), description="Which channels of the tokens are measured; empty: all.")

    def matrix(self, layout: Layout) -> Float[Tensor, "rows tokens tokens"]:
        """The mix, zero in rows where nothing is measured and in columns of padding."""
        raise NotImplementedError

    def refuses(self, spec: StreamSpec) -> str | None:
        beyond = [channel for channel in self.channels if not 0 <= channel < spec.width]
        return f"measurement '{self.kind}' names the channels {beyond} of stream '{spec.name}', which has {spec.width}" if beyond else None

    def _picked(self, y: Tensor) -> Tensor:
        """`y` with zeros in the channels that are not measured."""
        if not self.channels:
            return y
        chosen = torch.zeros(y.shape[-1], dtype=y.dtype, device=y.device)
        chosen[list(self.channels)] = 1
        return y * chosen

    def apply(self, x: Float[Tensor, "rows tokens width"], layout: Layout) -> Tensor:
        return self._picked(self.matrix(layout).to(x.dtype) @ x)

    def support(self, x: Float[Tensor, "rows tokens width"], layout: Layout) -> Tensor:
        return self._picked((self.matrix(layout) != 0).any(2, keepdim=True).to(x.dtype).expand_as(x))

    def filtered(self, y: Tensor, layout: Layout, weight: Callable[[Tensor], Tensor]) -> Float[Tensor, "rows tokens width"]:
        matrix, y = self.matrix(layout).to(y.dtype), self._picked(y)
        if self.orthogonal:
            lengths = matrix.square().sum(2, keepdim=True).sqrt()
            return matrix.mT @ (weighed(lengths, lambda s: weight(s) / s) * y)
        u, s, v = torch.linalg.svd(matrix)
        return v.mT @ (weighed(s[..., None], weight) * (u.mT @ y))


def weighed(singular: Float[Tensor, "rows values 1"], weight: Callable[[Tensor], Tensor]) -> Float[Tensor, "rows values 1"]:
    """`weight` of the singular values that are not 0 (to 1e-4 of the row's largest), and 0 of the others."""
    there = singular > 1e-4 * singular.amax(1, keepdim=True)
    return weight(singular.where(there, 1.0)).where(there, 0.0)


class Code(Spec):
    """A function, given from Python: a recipe is data and has none. Two are equal if they are the same object."""

    call: Any

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        return {"call": value} if callable(value) and not isinstance(value, Code) else value

    @model_validator(mode="after")
    def _callable(self) -> "Code":
        if not callable(self.call):
            raise ValueError("a function is given from Python only: a recipe is data")
        return self

    @model_serializer(mode="plain")
    def _name(self) -> str:
        name = f"{getattr(self.call, '__module__', '')}.{getattr(self.call, '__qualname__', type(self.call).__qualname__)}"
        return f"{name} #{id(self.call)}"

    def __call__(self, *given: Any) -> Tensor:
        return self.call(*given)

    def by_row(self, x: Float[Tensor, "rows tokens width"], *rest: Any) -> Float[Tensor, " rows"]:
        """Its number of each row. Errors: as `number_each`."""
        return number_each(self.call(x, *rest), len(x))


def number_each(found: Any, rows: int) -> Float[Tensor, " rows"]:
    """What a function of so many rows gave. Errors: `ValueError` for anything but a number a row, which would mix the rows of a batch."""
    if not isinstance(found, torch.Tensor) or found.shape != (rows,):
        gave = tuple(found.shape) if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"
        raise ValueError(f"a function of {rows} rows is to give a number a row, a tensor ({rows},): it gave {gave}")
    return found
