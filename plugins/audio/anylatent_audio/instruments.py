"""Instruments by name: programs of General MIDI (1991)."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from anylatent.lazy import torch
from anylatent.types import Float, Tensor
from anylatent_audio.audio_data import AudioData
from anylatent_audio.sound import Sound

if TYPE_CHECKING:
    from anylatent_audio.soundfont import SoundFont

PROGRAMS = {
    "piano": 0, "harpsichord": 6, "vibraphone": 11, "marimba": 12, "guitar": 24, "bass": 32, "violin": 40, "cello": 42, "pizzicato": 45,
    "harp": 46, "strings": 48, "choir": 52, "trumpet": 56, "trombone": 57, "horn": 60, "oboe": 68, "bassoon": 70, "clarinet": 71,
    "flute": 73, "recorder": 74, "banjo": 105, "kalimba": 108,
}  # fmt: skip

GAIN = 0.7
"""So that the loudest single notes of the default SoundFont stay within [-1, 1]."""
_FADE = 0.02
"""Seconds: an end without a fade would click."""


class Instruments(AudioData):
    """A data set that is played on a SoundFont."""

    soundfont: str = Field(default="", description="A .sf2 file of your own; empty: TimGM6mb.sf2, which comes with pretty_midi.")

    @property
    def font(self) -> "SoundFont":
        """The opened file. Errors: `FileNotFoundError`, `ValueError`, saying which file and what was expected."""
        from anylatent_audio.soundfont import default_soundfont, soundfont

        return soundfont(Path(self.soundfont).expanduser() if self.soundfont else default_soundfont())

    def played(self, instrument: str, pitch: int, velocity: int, held: float, seconds: float) -> Sound:
        """One note, of `seconds` in all, its key down for `held` of them; what still rings then is faded out."""
        numbers = self.font.note(PROGRAMS[instrument], pitch, velocity, held, seconds, self.rate) * GAIN
        return Sound(faded(torch.from_numpy(numbers.clip(-1, 1)), self.rate), self.rate)


def faded(samples: Float[Tensor, " time"], rate: int) -> Float[Tensor, " time"]:
    """The same samples with their last 20 ms going down to silence."""
    last = min(len(samples), round(_FADE * rate))
    return torch.cat((samples[: len(samples) - last], samples[len(samples) - last :] * torch.linspace(1, 0, last)))


def check_instruments(names: tuple[str, ...]) -> tuple[str, ...]:
    """Errors: `ValueError` naming what is unknown and what there is."""
    unknown = [name for name in names if name not in PROGRAMS]
    if unknown or not names:
        raise ValueError(f"no instrument {', '.join(map(repr, unknown)) or 'is named'}: choose among {', '.join(sorted(PROGRAMS))}")
    return names
