"""Images in memory, as 8-bit pixels: what every data set of this plugin builds."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anylatent.data import Collected
from anylatent.types import Tensor
from anylatent_image.pixels import to_sample


class Images(Collected):
    """Pixels `(n, height, width, channels)` uint8, with the conditions and the id of each image."""

    def __init__(self, pixels: Tensor, known: Sequence[Mapping[str, Any]], ids: Sequence[str], problems: Sequence[str] = ()) -> None:
        super().__init__(known, ids, problems)
        assert pixels.dtype == torch.uint8
        assert len(pixels) == len(ids)
        self.pixels = pixels

    def sample(self, index: int) -> Tensor:
        return to_sample(self.pixels[index])

    def digest(self) -> str:
        shape = f"{tuple(self.pixels.shape)}".encode()
        return hashlib.sha256(shape + self.pixels.contiguous().numpy().tobytes()).hexdigest()
