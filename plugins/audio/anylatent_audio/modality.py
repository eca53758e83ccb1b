"""Sounds: how they are read, shown and told apart."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from anylatent.files import write_bytes
from anylatent.modality import Modality
from anylatent_audio.audio_data import AudioData
from anylatent_audio.sound import SUFFIXES, Sound, read_sound, to_pcm, wav_bytes

_SHOWN = 48


class Audio(Modality, kind="audio"):
    """Sounds of one rate and any length."""

    sample: ClassVar[str] = "Sound: float32 samples (T,) in [-1, 1], one channel, and their rate in Hz"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def sheet(self, samples: Sequence[Sound], captions: Sequence[str] = ()) -> bytes:
        """A PNG of spectrograms, time in seconds by pitch, with their captions."""
        from anylatent_audio.spectrogram import draw_sheet

        return draw_sheet(samples, captions)

    def write(self, samples: Sequence[Sound], folder: Path) -> list[Path]:
        """`0000.wav` … (16 bits), and `sheet.png` with the spectrograms of the first 48."""
        digits = max(4, len(str(len(samples) - 1)))
        written = [write_bytes(folder / f"{index:0{digits}d}.wav", wav_bytes(sample)) for index, sample in enumerate(samples)]
        return [*written, write_bytes(folder / "sheet.png", self.sheet(samples[:_SHOWN]))]

    def read(self, path: Path) -> Sound:
        """A user's file at the rate of this run's data, its channels averaged."""
        return read_sound(path, self._rate())

    def identity(self, sample: Sound) -> str:
        """A hash of the 16-bit numbers and the rate."""
        return hashlib.sha256(f"{sample.rate} ".encode() + to_pcm(sample).numpy().tobytes()).hexdigest()

    def events(self, sample: Sound) -> list[float]:
        """Onsets in seconds."""
        from anylatent_audio.onsets import onsets

        return onsets(sample)

    def _rate(self) -> int:
        if isinstance(self.data, AudioData):
            return self.data.rate
        # A data set of somebody else's says nothing but its samples.
        return self.data.build("train")[0].sample.rate
