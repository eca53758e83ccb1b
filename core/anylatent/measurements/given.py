"""Measurements that a person writes down: a matrix, or any function that can be differentiated."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator

from anylatent.lazy import torch
from anylatent.measurements.base import Code, Layout, Measurement, weighed
from anylatent.node import Stage
from anylatent.types import Float, Tensor


class Linear(Measurement, kind="linear"):
    """Any matrix over all tokens and channels of a row (channels turn fastest), for rows that have as many tokens as it.

    Rows beside them may be longer.
    """

    example: ClassVar[Mapping[str, Any]] = {"matrix": [[1, 0, 0, 1]]}

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        """The sum of the channels of the first token."""
        return {"matrix": [[1.0] * stage.width], "stream": stage.stream}

    matrix: tuple[tuple[float, ...], ...] = Field(description="Its rows; each has a number for every channel of every token.")

    @field_validator("matrix", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return value.tolist() if hasattr(value, "tolist") else value

    @field_validator("matrix")
    @classmethod
    def _rectangular(cls, value: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
        if not value or not value[0] or len({len(row) for row in value}) > 1:
            raise ValueError(f"expected rows of equal length, at least one; given lengths {[len(row) for row in value]}")
        return value

    def _flat(self, x: Float[Tensor, "rows tokens width"]) -> tuple[Tensor, Tensor]:
        matrix = torch.tensor(self.matrix, dtype=x.dtype, device=x.device)
        columns, (_, tokens, width) = matrix.shape[1], x.shape
        if columns % width or columns > tokens * width:
            raise ValueError(f"the matrix of measurement 'linear' has {columns} columns: {tokens} tokens have {width} numbers each")
        return matrix, x[:, : columns // width].flatten(1)

    def apply(self, x: Float[Tensor, "rows tokens width"], layout: Layout) -> Tensor:
        matrix, flat = self._flat(x)
        return (flat @ matrix.mT)[..., None]

    def filtered(self, y: Tensor, layout: Layout, weight: Callable[[Tensor], Tensor]) -> Float[Tensor, "rows tokens width"]:
        rows, tokens = layout.mask.shape
        matrix = torch.tensor(self.matrix, dtype=y.dtype, device=y.device)
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        flat = (weighed(s.expand(rows, -1)[..., None], weight) * (u.mT @ y)).mT @ v
        x = flat[:, 0].unflatten(1, (-1, layout.spec.width))
        return torch.nn.functional.pad(x, (0, 0, 0, tokens - x.shape[1]))


class Function(Measurement, kind="function"):
    """Any function of the tokens `(B, N, C)` that can be differentiated, from Python only: y = f(x0, layout).

    One number a row, `(B,)`, is measured as `(B, 1)`. Errors: `ValueError` for what has no leading row axis.
    """

    linear: ClassVar[bool] = False
    python_only: ClassVar[bool] = True
    function: Code = Field(description="f: tokens (B, N, C) and a `Layout` to (B, …), with zeros where padding is.")

    def apply(self, x: Float[Tensor, "rows tokens width"], layout: Layout) -> Tensor:
        y = self.function(x, layout)
        if not isinstance(y, torch.Tensor) or y.dim() == 0 or len(y) != len(x):
            gave = tuple(y.shape) if isinstance(y, torch.Tensor) else f"a {type(y).__name__}"
            raise ValueError(f"measurement 'function' of {len(x)} rows is to give a tensor ({len(x)},) or ({len(x)}, …): it gave {gave}")
        return y[:, None] if y.dim() == 1 else y
