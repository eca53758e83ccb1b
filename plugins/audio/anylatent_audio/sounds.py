"""Sounds in memory, as 16-bit numbers: what data sets of recorded files build."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anylatent.data import Dataset, Record
from anylatent_audio.sound import Sound, to_pcm


class Sounds(Dataset):
    """Recorded sounds with the conditions and the id of each."""

    def __init__(
        self, sounds: Sequence[Sound], conditions: Sequence[Mapping[str, Any]], ids: Sequence[str], problems: Sequence[str] = ()
    ) -> None:
        assert len(sounds) == len(conditions) == len(ids)
        self._pcm = [(to_pcm(sound).to(torch.int16), sound.rate) for sound in sounds]
        self._conditions, self.ids, self.problems = conditions, ids, tuple(problems)
        digest = hashlib.sha256(json.dumps([conditions, ids], sort_keys=True).encode())
        for pcm, rate in self._pcm:
            digest.update(f"{rate} {len(pcm)}".encode() + pcm.numpy().tobytes())
        self._fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Record:
        pcm, rate = self._pcm[index]
        return Record(Sound(pcm.float() / 32768, rate), self._conditions[index], self.ids[index])

    def conditions(self, index: int) -> Mapping[str, Any]:
        return self._conditions[index]

    def fingerprint(self) -> str:
        return self._fingerprint
