"""Whether what moves in a clip goes where it was asked to."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.data import Dataset
from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.intervals import wilson
from anylatent_video.motion import DIRECTIONS, STRAIGHT, direction_of

_CHECKED = 500
"""Held-out clips that the measurement is checked on, at most."""


class MotionAgreement(Metric, kind="video.motion-agreement"):
    """The share of clips whose sprite is displaced in the direction asked for, measured from the pixels alone.

    The direction is the condition's, or the last word of the caption ("a red ball moving left"). The displacement is that of the
    centroid of what differs from the background. The interval is Wilson's (1927); the floor is the same measure of held-out real clips.
    """

    min_n: ClassVar[int] = 10

    condition: str = Field(default="direction", description="The condition that is the direction.")
    caption: str = Field(default="caption", description="The condition that ends with the direction, where the first was not asked.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        """One measure. Errors: `TooFewSamples`; `ValueError` if no sample was asked to move anywhere."""
        pairs = [(sample, wanted) for sample, asked in zip(evidence.samples, evidence.asked) if (wanted := self._wanted(asked))]
        if not pairs:
            raise ValueError(
                f"{self.kind} needs samples that were asked for a '{self.condition}', or for a '{self.caption}' that ends with one of "
                f"{', '.join(DIRECTIONS)}: sample with it"
            )
        self.require(len(pairs))
        real = self._real(evidence.test)
        among = self._among([wanted for _, wanted in (*pairs, *real)])
        found = [direction_of(sample, among) for sample, _ in pairs]
        agreed = sum(direction == wanted for direction, (_, wanted) in zip(found, pairs, strict=True))
        other = sum(found[i] == pairs[(i + len(pairs) // 2) % len(pairs)][1] for i in range(len(pairs))) / len(pairs)
        low, high = wilson(agreed, len(pairs))
        right = sum(direction_of(sample, among) == wanted for sample, wanted in real)
        note = f"asked for another sample's direction instead: {other:.1%}; still: {found.count('still')}"
        floor = right / len(real) if real else None
        return [Measure("motion agreement", agreed / len(pairs), low, high, len(pairs), "higher", floor, note=note)]

    def _wanted(self, asked: Mapping[str, Any]) -> str:
        words = str(asked.get(self.condition) or asked.get(self.caption) or "").split()
        return words[-1] if words and words[-1] in DIRECTIONS else ""

    def _real(self, test: Dataset) -> list[tuple[Any, str]]:
        records = [test[index] for index in range(min(len(test), _CHECKED))]
        return [(record.sample, wanted) for record in records if (wanted := self._wanted(record.conditions))]

    def _among(self, wanted: list[str]) -> tuple[str, ...]:
        """Four directions, or eight if a diagonal is among those of the data or the requests."""
        return STRAIGHT if set(wanted) <= set(STRAIGHT) else tuple(DIRECTIONS)
