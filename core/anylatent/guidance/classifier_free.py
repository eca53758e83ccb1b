"""Classifier-free guidance."""

from collections.abc import Mapping, Sequence

from pydantic import Field, model_validator

from anylatent.guidance.base import Branch, Guidance
from anylatent.lazy import torch
from anylatent.moment import Here, Moment
from anylatent.types import Tensor


class ClassifierFree(Guidance, kind="classifier-free"):
    """null + scale (asked - null) (Ho & Salimans 2022, 2207.12598, eq. 6), in an interval of times (Kynkäänniemi et al. 2024, 2404.07724).

    On clean-token predictions this equals the same rule on noise, score or velocity: all are linear in it with weights
    that sum to the same. A row outside of the interval, or with scale 1, does not run its null branch.
    """

    scale: float = Field(default=2.0, ge=0, description="1: unguided, exactly; 0: unconditional.")
    interval: tuple[float, float] = Field(default=(0.0, 1.0), description="Times t, from and to, at which it is active.")

    @model_validator(mode="after")
    def _ordered(self) -> "ClassifierFree":
        low, high = self.interval
        if not 0 <= low < high <= 1:
            raise ValueError(f"interval {list(self.interval)} must be two increasing times between 0 (data) and 1 (prior)")
        return self

    def needs_null(self) -> bool:
        return self.scale != 1

    def _active(self, moment: Moment) -> Tensor:
        low, high = self.interval
        inside = (moment.time >= low) & (moment.time <= high)
        return inside if self.scale != 1 else torch.zeros_like(inside)

    def plan(self, moment: Moment) -> Sequence[Branch]:
        active = self._active(moment)
        return [Branch("asked"), Branch("null", "null", active)] if active.any() else [Branch("asked")]

    def combine(self, predictions: Mapping[str, Tensor], here: Here) -> Tensor:
        asked = predictions["asked"]
        if "null" not in predictions:
            return asked
        null = predictions["null"]
        return torch.where(self._active(here.moment)[:, None, None], null + self.scale * (asked - null), asked)
