"""Images in memory, as 8-bit pixels: what every data set of this plugin builds."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from anylatent.data import Dataset, Record
from anylatent.types import Tensor
from anylatent_image.pixels import to_sample


class Images(Dataset):
    """Pixels `(n, height, width, channels)` uint8, with the conditions and the id of each image."""

    def __init__(self, pixels: Tensor, conditions: Sequence[Mapping[str, Any]], ids: Sequence[str], problems: Sequence[str] = ()) -> None:
        assert pixels.dtype == torch.uint8
        assert len(pixels) == len(conditions) == len(ids)
        self.pixels = pixels
        self._conditions = conditions
        self.ids = ids
        self.problems = tuple(problems)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Record:
        return Record(to_sample(self.pixels[index]), self._conditions[index], self.ids[index])

    def conditions(self, index: int) -> Mapping[str, Any]:
        return self._conditions[index]

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(str(tuple(self.pixels.shape)).encode())
        digest.update(self.pixels.contiguous().numpy().tobytes())
        digest.update(json.dumps([self._conditions, self.ids], sort_keys=True).encode())
        return digest.hexdigest()
