"""Guidance by what would be made without some streams."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.guidance.base import Branch
from anylatent.guidance.contrast import Contrast
from anylatent.node import Stage


class WithoutStreams(Contrast, kind="without-streams"):
    """Classifier-free guidance between streams: away from what is made with some of them absent.

    without + scale (asked - without), with the streams at time 1 and no null of its own (Bao et al. 2023, 2303.06555, section
    3.3). It guides the other streams; the absent ones themselves are as asked. Training should have seen
    `objective.absent`.
    """

    example: ClassVar[Mapping[str, Any]] = {"absent": ["label"]}
    neutral: ClassVar[Mapping[str, Any] | None] = {"absent": ["label"], "scale": 1.0}
    systems: ClassVar[tuple[str, ...]] = ("UniDiffuser (2303.06555)",)

    scale: float = Field(default=1.5, ge=0, description="1: unguided, exactly.")
    absent: tuple[str, ...] = Field(min_length=1, description="The streams that the weaker branch does without.")

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return super().example_for(stage, variation) | {"absent": (stage.others or (stage.stream,))[:1]}

    def streams(self) -> Collection[str]:
        return self.absent if self.guided() else ()

    def weak(self) -> Branch:
        return Branch("without", absent=self.absent)
