"""Mean and standard deviation of latent channels: owned by the tokenizer, part of its fingerprint."""

from collections.abc import Iterable

import torch
from torch import nn

from anylatent.types import Bool, Float, Tensor


class Statistics(nn.Module):
    """Normalises `(B, N, C)` values a channel; the identity until measured."""

    mean: Tensor
    std: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def measure(self, values: Float[Tensor, "rows tokens width"], mask: Bool[Tensor, "rows tokens"]) -> None:
        """From the valid tokens of `values`, a channel."""
        self.measure_batches([(values, mask)])

    def measure_batches(self, batches: Iterable[tuple[Tensor, Tensor]], *, per_channel: bool = True) -> None:
        """From the valid tokens of `(values, mask)` pairs. Constant channels keep their scale. `per_channel=False`: one scale for all."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for values, mask in batches:
            valid = values[mask].double()  # sums of many numbers: float32 would lose the small ones
            count, total, squares = count + len(valid), total + valid.sum(0).cpu(), squares + valid.square().sum(0).cpu()
        mean = total / count
        variance = squares / count - mean.square()
        std = (variance if per_channel else variance.mean().expand_as(variance)).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, 1.0))

    def normalise(self, values: Float[Tensor, "rows tokens width"]) -> Float[Tensor, "rows tokens width"]:
        return (values - self.mean) / self.std

    def restore(self, values: Float[Tensor, "rows tokens width"]) -> Float[Tensor, "rows tokens width"]:
        return values * self.std + self.mean
