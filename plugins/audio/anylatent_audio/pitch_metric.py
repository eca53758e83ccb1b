"""Whether notes have the pitch that they were asked to have."""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from anylatent.data import Dataset
from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.intervals import wilson
from anylatent_audio.sound import Sound


class Pitch(Metric, kind="audio.pitch"):
    """The share of samples whose pitch, as YIN estimates it, lies within `cents` of the one they were asked to have.

    YIN (de Cheveigné and Kawahara 2002) compares the waveform with itself and knows nothing of tokens or instruments.
    The interval is Wilson's (1927); the floor is what held-out real notes reach, and the control what they reach when each
    is judged by another's pitch.
    """

    min_n: ClassVar[int] = 10

    condition: str = Field(default="pitch", description="The condition that is the asked MIDI number.")
    cents: float = Field(default=50.0, gt=0, le=600, description="How far off is right; 50 is a quarter tone.")
    limit: int = Field(default=500, ge=10, description="Held-out real notes that are measured for the floor at most.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        """One measure. Errors: `TooFewSamples`; `ValueError` if no sample was asked for a pitch."""
        pairs = [(s, asked[self.condition]) for s, asked in zip(evidence.samples, evidence.asked) if asked.get(self.condition) is not None]
        if not pairs:
            raise ValueError(
                f"{self.kind} judges samples by the condition '{self.condition}', which none of them was asked for: sample with it"
            )
        self.require(len(pairs))
        wanted = [pitch for _, pitch in pairs]
        found = estimates([sound for sound, _ in pairs])
        right = sum(self._near(a, b) for a, b in zip(found, wanted, strict=True))
        low, high = wilson(right, len(pairs))
        others = [self._near(a, b) for i, a in enumerate(found) for j, b in enumerate(wanted) if i != j]
        real = _real(evidence.test, self.condition, self.limit)
        floor = [self._near(a, b) for a, (_, b) in zip(estimates([sound for sound, _ in real]), real, strict=True)]
        return [
            Measure(
                f"pitch within {self.cents:g} cents", right / len(pairs), low, max(high, right / len(pairs)), len(pairs), "higher",
                floor=sum(floor) / len(floor) if floor else None, fingerprint=evidence.test.fingerprint(),
                note=f"by YIN; the floor is of {len(floor)} held-out real notes; control: {sum(others) / len(others):.1%} when each is "
                "judged by another sample's pitch",
            )
        ]  # fmt: skip

    def _near(self, found: float | None, wanted: float) -> bool:
        return found is not None and abs(found - wanted) * 100 <= self.cents


def estimates(sounds: Sequence[Sound]) -> list[float | None]:
    """MIDI numbers with fractions, None where nothing is periodic."""
    from anylatent_audio.pitch_estimate import estimate_pitch

    return [estimate_pitch(sound) for sound in sounds]


def _real(test: Dataset, condition: str, limit: int) -> list[tuple[Sound, Any]]:
    """Held-out notes with a pitch, evenly spread."""
    count = min(limit, len(test))
    chosen = sorted({round(i * (len(test) - 1) / max(1, count - 1)) for i in range(count)})
    records = (test[index] for index in chosen)
    return [(record.sample, record.conditions[condition]) for record in records if record.conditions.get(condition) is not None]
