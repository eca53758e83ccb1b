"""Guidance by what would be made without some streams."""

from collections.abc import Collection, Mapping, Sequence

from pydantic import Field

from anylatent.guidance.base import Branch, Guidance
from anylatent.moment import Here, Moment
from anylatent.types import Tensor


class WithoutStreams(Guidance, kind="without-streams"):
    """without + scale (asked - without): away from what the same denoiser makes with some streams absent, at time 1.

    Classifier-free guidance between the streams of a joint denoiser, with no null of its own (Bao et al. 2023, 2303.06555,
    section 3.3). It guides the other streams; the absent ones themselves are as asked. Training should have seen
    `objective.absent`.
    """

    scale: float = Field(default=1.5, ge=0, description="1: unguided, exactly.")
    absent: tuple[str, ...] = Field(min_length=1, description="The streams that the weaker branch does without.")

    def streams(self) -> Collection[str]:
        return self.absent if self.scale != 1 else ()

    def plan(self, moment: Moment) -> Sequence[Branch]:
        return [Branch("asked"), Branch("without", absent=self.absent)] if self.scale != 1 else [Branch("asked")]

    def combine(self, predictions: Mapping[str, Tensor], here: Here) -> Tensor:
        asked, without = predictions["asked"], predictions.get("without")
        return asked if without is None else without + self.scale * (asked - without)
