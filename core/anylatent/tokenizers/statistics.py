"""Mean and standard deviation of latent channels: owned by the tokenizer, part of its fingerprint."""

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

    def measure(self, values: Float[Tensor, "rows tokens width"], mask: Bool[Tensor, "rows tokens"], *, per_channel: bool = True) -> None:
        """From the valid tokens of `values`. Constant channels keep their scale. `per_channel=False`: one scale for all."""
        valid = values[mask]
        std = valid.std(0, unbiased=False)
        if not per_channel:
            std = (valid - valid.mean(0)).square().mean().sqrt().expand_as(std)
        self.mean.copy_(valid.mean(0))
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def normalise(self, values: Float[Tensor, "rows tokens width"]) -> Float[Tensor, "rows tokens width"]:
        return (values - self.mean) / self.std

    def restore(self, values: Float[Tensor, "rows tokens width"]) -> Float[Tensor, "rows tokens width"]:
        return values * self.std + self.mean
