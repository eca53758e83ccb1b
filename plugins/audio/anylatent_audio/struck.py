"""Clips in which notes are struck at given times."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, field_validator

from anylatent.data import Dataset, Split
from anylatent_audio.instruments import Instruments, check_instruments

if TYPE_CHECKING:
    from anylatent_audio.struck_records import StruckRecords

Pitch = Annotated[int, Field(ge=21, le=108)]


class Struck(Instruments, kind="audio.struck"):
    """Clips with notes of one instrument at random times; or, beside another data set, at the times of its `events`.

    `beside` turns record i of the leading data set into a clip as long as its condition `seconds`, with a note for each
    (seconds, MIDI pitch) of its condition `events`.
    """

    summary: ClassVar[str] = "clips of notes struck at given times, 2,000 as it stands; from the SoundFont in pretty_midi"

    instrument: str = Field(default="marimba", description="Name of a General MIDI instrument.")
    count: int = Field(default=2000, ge=2, description="Clips; beside another data set there are as many as that has.")
    seconds: float = Field(default=1.0, ge=0.1, le=60, description="Length of a clip.")
    strikes: int = Field(default=2, ge=1, le=100, description="Notes of a clip at most; at least one.")
    pitches: tuple[Pitch, ...] = Field(default=(60, 64, 67, 72), min_length=1, description="MIDI numbers to draw from.")
    apart: float = Field(default=0.15, gt=0, description="Seconds between two notes at least, and from the last to the end.")
    velocity: int = Field(default=110, ge=1, le=127)
    ring: float = Field(default=0.6, ge=0.05, le=10, description="Seconds that a note sounds, if the clip does not end before.")
    test_share: float = Field(default=0.1, gt=0, lt=1)

    @field_validator("instrument")
    @classmethod
    def _known(cls, name: str) -> str:
        return check_instruments((name,))[0]

    def build(self, split: Split) -> "StruckRecords":
        """Open a split. Conditions: `events` (a list of [seconds, MIDI pitch]), `strikes` (how many), `seconds`; ids `struck-0017`."""
        from anylatent_audio.struck_records import StruckRecords, own_scores

        return StruckRecords(self, own_scores(self, split))

    def beside(self, leading: Dataset, split: Split) -> "StruckRecords":
        """Record i plays the `events` of record i of `leading`. Errors: `ValueError` for a record without them."""
        from anylatent_audio.struck_records import StruckRecords, scores_of

        return StruckRecords(self, scores_of(leading))
