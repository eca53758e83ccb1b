"""The order in which training sees samples: a function of (seed, position), so that resuming needs one number."""

from functools import lru_cache

import torch

from anylatent.random import seed_of
from anylatent.types import Int, Tensor


class Order:
    """An endless sequence of indices below `count`: each epoch is a permutation of its own."""

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise ValueError("there is nothing to train on: the data set is empty")
        self.count, self.seed = count, seed
        self._epoch = lru_cache(2)(self._permutation)

    def _permutation(self, epoch: int) -> Int[Tensor, " count"]:
        generator = torch.Generator().manual_seed(seed_of("order", self.seed, epoch))
        return torch.randperm(self.count, generator=generator)

    def take(self, position: int, size: int) -> Int[Tensor, " size"]:
        """The `size` indices from `position` on (how many were seen before)."""
        parts = []
        while size > 0:
            epoch, at = divmod(position, self.count)
            part = self._epoch(epoch)[at : at + size]
            parts.append(part)
            position, size = position + len(part), size - len(part)
        return torch.cat(parts)

    def seeds(self, indices: Int[Tensor, " size"]) -> Int[Tensor, " size"]:
        """A row seed for each sample, whatever the batch: of the training's seed and the sample's index."""
        return (seed_of("rows", self.seed) + indices * 0x9E3779B97F4A7C1) & 0x7FFFFFFFFFFFFFFF
