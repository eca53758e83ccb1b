"""A blurred copy."""

from typing import Any, ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.measurements.base import Layout, Mixing
from anylatent.measurements.regions import unknown_axes
from anylatent.nn.blur import near
from anylatent.node import Stage
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor


class Blur(Mixing, kind="blur"):
    """Each token's mean over its neighbours with Gaussian weights of their distance; at the border over those that there are.

    Each use decomposes an N x N matrix a row: for up to some hundred tokens.
    """

    orthogonal: ClassVar[bool] = False

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return {"stream": stage.stream}

    width: float = Field(default=1.0, gt=0, description="Standard deviation of the weights, in steps of the axes.")
    axes: tuple[str, ...] = Field(default=(), description="The axes that it blurs along; empty: all.")

    def refuses(self, spec: StreamSpec) -> str | None:
        if not spec.axes:
            return f"measurement 'blur' needs axes to blur along: stream '{spec.name}' has none"
        return super().refuses(spec) or unknown_axes([spec], dict.fromkeys(self.axes))

    def matrix(self, layout: Layout) -> Float[Tensor, "rows tokens tokens"]:
        rows, tokens = layout.mask.shape
        distance = layout.positions.new_zeros(rows, tokens, tokens)
        for index, axis in enumerate(layout.spec.axes):
            place = layout.positions[..., index] / axis.step
            apart = (place[:, :, None] - place[:, None]).square()
            blurred = not self.axes or axis.name in self.axes
            distance = distance + (apart if blurred else torch.where(apart < 0.25, 0.0, torch.inf))
        return near(distance, layout.mask, self.width) * layout.mask[:, :, None]
