"""Single notes of real instruments."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, field_validator

from anylatent.data import Split
from anylatent_audio.instruments import Instruments, check_instruments

if TYPE_CHECKING:
    from anylatent_audio.note_records import NoteRecords

Seconds = Annotated[float, Field(ge=0.1, le=10)]
Velocity = Annotated[int, Field(ge=1, le=127)]


class Notes(Instruments, kind="audio.notes"):
    """Every instrument at every pitch, velocity and duration, played on a SoundFont; `test_share` of the notes are held out.

    A note that is held out in one duration is held out in all. The key is down for three quarters of the duration.
    """

    summary: ClassVar[str] = (
        "instrument notes: instrument x pitch x velocity x duration, 2,664 as it stands; from the SoundFont in pretty_midi"
    )

    instruments: tuple[str, ...] = Field(
        default=(
            "piano", "harpsichord", "vibraphone", "marimba", "guitar", "violin", "cello", "harp", "trumpet", "horn", "clarinet", "flute",
        ),
        description="Names of General MIDI instruments.",
    )  # fmt: skip
    lowest: int = Field(default=48, ge=21, le=108, description="Lowest pitch, as a MIDI number (60: middle C, 69: A at 440 Hz).")
    highest: int = Field(default=84, ge=21, le=108, description="Highest pitch.")
    velocities: tuple[Velocity, ...] = Field(default=(60, 90, 120), min_length=1, description="How hard the key is struck.")
    seconds: tuple[Seconds, ...] = Field(default=(0.75, 1.0), min_length=1, description="Durations of the sounds.")
    test_share: float = Field(default=0.1, gt=0, lt=1, description="How much is held out, by a hash of instrument, pitch and velocity.")

    _known = field_validator("instruments")(check_instruments)

    @field_validator("highest")
    @classmethod
    def _above(cls, highest: int, info: object) -> int:
        lowest = getattr(info, "data", {}).get("lowest", highest)
        if highest < lowest:
            raise ValueError(f"highest pitch {highest} is below the lowest, {lowest}")
        return highest

    def build(self, split: Split) -> "NoteRecords":
        """Open a split. Conditions: `instrument`, `pitch` (MIDI number), `velocity`, `duration` (s), `caption`; ids `flute-C4-v90-1s`."""
        from anylatent_audio.note_records import NoteRecords

        return NoteRecords(self, split)
