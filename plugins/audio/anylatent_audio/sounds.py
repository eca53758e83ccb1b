"""Sounds in memory, as 16-bit numbers: what data sets of recorded files build."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anylatent.data import Collected
from anylatent_audio.sound import Sound, to_pcm


class Sounds(Collected):
    """Recorded sounds with the conditions and the id of each."""

    def __init__(
        self, sounds: Sequence[Sound], known: Sequence[Mapping[str, Any]], ids: Sequence[str], problems: Sequence[str] = ()
    ) -> None:
        super().__init__(known, ids, problems)
        assert len(sounds) == len(ids)
        self._pcm = [(to_pcm(sound).to(torch.int16), sound.rate) for sound in sounds]

    def sample(self, index: int) -> Sound:
        pcm, rate = self._pcm[index]
        return Sound(pcm.float() / 32768, rate)

    def digest(self) -> str:
        digest = hashlib.sha256()
        for pcm, rate in self._pcm:
            digest.update(f"{rate} {len(pcm)}".encode() + pcm.numpy().tobytes())
        return digest.hexdigest()
