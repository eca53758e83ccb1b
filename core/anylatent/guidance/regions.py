"""Other conditions in other places."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field, model_validator

from anylatent.guidance.base import Branch, Variant
from anylatent.guidance.mixing import Members, Mixing
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.node import Node, Stage
from anylatent.spec import StreamSpec
from anylatent.types import Bool, Tensor


class Span(Node):
    """A stretch of an axis, in its unit: from `start` up to, not including, `stop`."""

    axis: str = Field(min_length=1, description="The axis's name.")
    start: float | None = Field(default=None, description="Where it begins; none: at the beginning.")
    stop: float | None = Field(default=None, description="Where it ends; none: at the end.")

    @model_validator(mode="after")
    def _ordered(self) -> "Span":
        if self.start is not None and self.stop is not None and self.start >= self.stop:
            raise ValueError(f"the span of axis '{self.axis}' from {self.start:g} to {self.stop:g} is empty: start must be below stop")
        return self


class Region(Node):
    """Tokens whose coordinates lie in all `where`, and what they are asked to be."""

    where: tuple[Span, ...] = Field(min_length=1, description="Stretches of axes; tokens in all of them are in the region.")
    ask: dict[str, Any] = Field(default={}, description="Conditions there, by name, in place of the row's own.")
    without: tuple[str, ...] = Field(default=(), description="Conditions of the row that are not asked there.")
    weight: float = Field(default=1.0, ge=0, description="What it counts where regions overlap; 0: not at all.")


class Regions(Mixing, kind="regions"):
    """Other conditions in other places: each token's prediction is the weighted mean of its regions'.

    The least-squares fusion of MultiDiffusion's region prompts (Bar-Tal et al. 2023, 2302.08113, eq. 5): every region is
    predicted for the whole sample, and counts where it lies. Tokens in no region are as the row is asked; with
    `background` the row's own condition counts in regions too. Streams without the axes are as the row is asked.
    """

    mark: ClassVar[str] = "@"
    example: ClassVar[Mapping[str, Any]] = {"regions": [{"where": [{"axis": "x", "start": 4.0}], "ask": {"label": 3}}]}
    neutral: ClassVar[Mapping[str, Any] | None] = {"regions": [{"where": [{"axis": "x", "start": 4.0}], "weight": 0.0}]}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "(1 + inner) * (1 + regions) - 1"}
    systems: ClassVar[tuple[str, ...]] = ("MultiDiffusion, region prompts (2302.08113)", "StreamMultiDiffusion (2403.09055)")

    regions: tuple[Region, ...] = Field(min_length=1, description="The regions.")
    background: float = Field(default=0.0, ge=0, description="What the row's own condition counts within regions.")

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        where = [{"axis": axis, "start": middle} for axis, middle in stage.middle().items()]
        regions = [{"where": where, **stage.something_else()}] if where else cls.example["regions"]
        return super().example_for(stage, variation) | {"regions": regions}

    def asks(self) -> Sequence[Variant]:
        return [Variant(), *(Variant(region.without, region.ask) for region in self._at_work())]

    def refuses(self, specs: Sequence[StreamSpec]) -> str | None:
        known = sorted({axis.name for spec in specs for axis in spec.axes})
        for region in self.regions:
            for span in region.where:
                if span.axis not in known:
                    return f"guidance '{self.kind}' names the axis '{span.axis}': the streams have {known or 'no axes'}"
        return super().refuses(specs)

    def members(self, branch: Branch, here: Mapping[str, Here]) -> Mapping[str, Branch]:
        if branch.condition == "null":
            return {"": branch}
        return {str(i) if i else "": replace(branch, condition=self.condition(i, branch.condition)) for i in range(len(self.asks()))}

    def weights(self, labels: Sequence[str], predictions: Mapping[str, Members], here: Here) -> Mapping[str, Tensor]:
        inside = {str(i): region.weight * self._inside(region, here).to(here.x.dtype) for i, region in enumerate(self._at_work(), 1)}
        covered = sum(inside.values(), torch.zeros_like(here.x[..., 0])) > 0
        inside[""] = torch.where(covered, self.background, 1.0)
        total = torch.stack(list(inside.values())).sum(0)
        return {label: (weight / total)[..., None] for label, weight in inside.items()}

    def _at_work(self) -> list[Region]:
        return [region for region in self.regions if region.weight > 0]

    def _inside(self, region: Region, here: Here) -> Bool[Tensor, "rows tokens"]:
        places = {axis.name: here.positions[..., i] for i, axis in enumerate(here.spec.axes)}
        inside = torch.ones_like(here.mask)
        for span in region.where:
            if span.axis not in places:
                return torch.zeros_like(here.mask)
            place = places[span.axis]
            inside = inside if span.start is None else inside & (place >= span.start)
            inside = inside if span.stop is None else inside & (place < span.stop)
        return inside
