"""Exponential moving averages of weights, several lengths at once."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from anylatent.types import Tensor


class Averages:
    """Averages of a module's trained weights, one a decay. Early on they are shorter: decay is at most (1 + n) / (10 + n)."""

    def __init__(self, module: nn.Module, decays: Sequence[float]) -> None:
        for decay in decays:
            if not 0 <= decay < 1:
                raise ValueError(f"an average's decay must be from 0 to below 1, given {decay}")
        self.names = [name for name, _ in module.named_parameters()]
        self.weights: dict[str, list[Tensor]] = {average_name(decay): [p.detach().clone() for p in module.parameters()] for decay in decays}
        self._decays = {average_name(decay): decay for decay in decays}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """After optimizer step number `step` (from 0)."""
        current = [p.detach() for p in module.parameters()]
        for name, average in self.weights.items():
            kept = min(self._decays[name], (1 + step) / (10 + step))
            torch._foreach_lerp_(average, current, 1 - kept)  # pyright: ignore[reportPrivateImportUsage]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """An average as a state dict of parameters."""
        return dict(zip(self.names, self.weights[name], strict=True))

    @torch.no_grad()
    def load(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        for own, key in zip(self.weights[name], self.names, strict=True):
            own.copy_(tensors[key])


def average_name(decay: float) -> str:
    """`ema-0.999`: the name of its file and of the weights to sample with."""
    return f"ema-{decay:g}"
