"""A part of the tokens, known as it is; and all of them."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator

from anylatent.lazy import torch
from anylatent.measurements.base import Layout, Mixing
from anylatent.measurements.regions import Fractions, check_intervals, inside, unknown_axes
from anylatent.node import Stage
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor


class Identity(Mixing, kind="identity"):
    """Every token, with noise: a sample that is to be denoised."""

    def matrix(self, layout: Layout) -> Float[Tensor, "rows tokens tokens"]:
        return torch.diag_embed(layout.mask.to(layout.positions.dtype))


class Select(Mixing, kind="select"):
    """The tokens outside of a region of coordinates: inpainting, extrapolation, gaps.

    The region is that of `masked-completion`, which keeps the same tokens exactly, in a denoiser that was trained to complete.
    """

    example: ClassVar[Mapping[str, Any]] = {"anew": {"x": [0.5, 1]}}

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return {"anew": dict.fromkeys(stage.middle(), (0.5, 1.0)), "stream": stage.stream}

    anew: dict[str, Fractions] = Field(
        default={}, description="Intervals of the axes, as fractions from 0 to 1; a token inside all is not known."
    )
    tokens: Fractions = Field(default=(0.5, 1.0), description="For pure sets: the interval of elements that is not known.")
    invert: bool = Field(default=False, description="The inside is known, the outside is not.")

    @model_validator(mode="after")
    def _ordered(self) -> "Select":
        check_intervals(self.anew | {"tokens": self.tokens})
        return self

    def refuses(self, spec: StreamSpec) -> str | None:
        return super().refuses(spec) or unknown_axes([spec], self.anew)

    def matrix(self, layout: Layout) -> Float[Tensor, "rows tokens tokens"]:
        region = inside(layout, self.anew, self.tokens)
        known = (region if self.invert else ~region) & layout.mask
        return torch.diag_embed(known.to(layout.positions.dtype))
