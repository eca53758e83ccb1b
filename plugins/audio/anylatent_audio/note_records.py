"""The records of `audio.notes`: played when they are asked for."""

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from anylatent.data import Dataset, Record, Split
from anylatent.random import seed_of
from anylatent.types import Tensor
from anylatent_audio.notes import Notes
from anylatent_audio.pitch_names import pitch_name, register_name
from anylatent_audio.sound import Sound, to_pcm

_VERSION = 1
"""Raised when the same description would be played differently."""
_HELD = 0.75
"""Of the duration: how long the key is down."""
_KEPT = 4096
"""Notes that are held in memory: 130 MB of one second at 16 kHz."""


@dataclass(frozen=True)
class _Note:
    instrument: str
    pitch: int
    velocity: int
    seconds: float

    @property
    def caption(self) -> str:
        loudness = "soft " if self.velocity < 70 else "loud " if self.velocity > 105 else ""
        first = f"{loudness}{register_name(self.pitch)}"
        return f"a {first} {self.instrument} note"

    @property
    def id(self) -> str:
        return f"{self.instrument}-{pitch_name(self.pitch)}-v{self.velocity}-{self.seconds:g}s"


class NoteRecords(Dataset):
    """Notes in the order instrument, pitch, velocity, duration."""

    def __init__(self, config: Notes, split: Split) -> None:
        self.config = config
        spans = range(config.lowest, config.highest + 1)
        every = itertools.starmap(_Note, itertools.product(config.instruments, spans, config.velocities, config.seconds))
        self.notes = [note for note in every if _held_out(note, config.test_share) == (split == "test")]
        for instrument in {note.instrument for note in self.notes}:
            self.config.played(instrument, config.lowest, config.velocities[0], 0.01, 0.01)  # says now what the SoundFont lacks
        self._kept: dict[_Note, Tensor] = {}
        self._fingerprint = hashlib.sha256(f"{_VERSION} {config.key()} {config.font.fingerprint} {split}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.notes)

    def __getitem__(self, index: int) -> Record:
        return Record(self._sound(self.notes[index]), self.conditions(index), self.notes[index].id)

    def conditions(self, index: int) -> Mapping[str, Any]:
        note = self.notes[index]
        return {
            "instrument": note.instrument,
            "pitch": note.pitch,
            "velocity": note.velocity,
            "duration": note.seconds,
            "caption": note.caption,
        }

    def fingerprint(self) -> str:
        return self._fingerprint

    def _sound(self, note: _Note) -> Sound:
        """As 16-bit numbers say it; the first notes that are asked for are kept, and not played again."""
        pcm = self._kept.get(note)
        if pcm is None:
            pcm = to_pcm(self.config.played(note.instrument, note.pitch, note.velocity, _HELD * note.seconds, note.seconds)).to(torch.int16)
            if len(self._kept) < _KEPT:
                self._kept[note] = pcm
        return Sound(pcm.float() / 32768, self.config.rate)


def _held_out(note: _Note, share: float) -> bool:
    return seed_of("audio.notes", note.instrument, note.pitch, note.velocity) % 10_000 < 10_000 * share
