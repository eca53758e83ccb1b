"""Matrix products with a role, norms, embeddings."""

import math
from typing import Literal

import torch
from torch import nn

from anylatent.nn import kernels
from anylatent.types import Float, Tensor

Role = Literal["qkv", "q", "kv", "out", "mlp_in", "mlp_out", "modulation", "embed", "readout"]
"""What a matrix product is for, so that adapters, quantization and sharding need no list of names per backbone."""


class Linear(nn.Linear):
    """A matrix product with a role; computed by the kernel that `kernels` chooses."""

    def __init__(self, inputs: int, outputs: int, role: Role, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.role: Role = role

    def forward(self, input: Tensor) -> Tensor:
        return kernels.linear(input, self.weight, self.bias)


def zero_init(layer: Linear) -> Linear:
    """The same layer, with zero weights: what it feeds starts as if it were absent."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def modulate(x: Float[Tensor, "rows tokens width"], shift: Tensor, scale: Tensor) -> Float[Tensor, "rows tokens width"]:
    """LayerNorm without its own weights, then (1 + scale) x + shift (adaLN: Peebles & Xie 2022, 2212.09748)."""
    return torch.addcmul(shift, nn.functional.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


class RMSNorm(nn.Module):
    """x / rms(x) times a learned weight, over the last axis (Zhang & Sennrich 2019, 1910.07467)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), eps=1e-6)


class Fourier(nn.Module):
    """Sines and cosines of a number of the order of 1, at `width / 2` frequencies from 1 to 1,000, geometrically."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, 3, width // 2), persistent=False)

    def forward(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch width"]:
        angle = x[..., None] * self.frequencies
        return torch.cat((angle.cos(), angle.sin()), -1)


class Embedding(nn.Module):
    """A number to a vector: Fourier features, then a two-layer perceptron."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = Fourier(256)
        self.layers = nn.Sequential(Linear(256, width, "embed"), nn.SiLU(), Linear(width, width, "embed"))

    def forward(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch width"]:
        return self.layers(self.features(x))


class Place(nn.Module):
    """Coordinates, in steps of their axes, to a vector: sines and cosines of wavelengths from 6 to 600 steps, projected; 0 at first."""

    frequencies: Tensor

    def __init__(self, axes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, -2, 16), persistent=False)
        self.out = zero_init(Linear(32 * axes, width, "embed"))

    def forward(self, positions: Float[Tensor, "rows tokens axes"]) -> Float[Tensor, "rows tokens width"]:
        angle = (positions[..., None] * self.frequencies).flatten(2)
        return self.out(torch.cat((angle.cos(), angle.sin()), -1))


def rotary(positions: Float[Tensor, "rows tokens axes"], head: int, base: float = 100.0) -> Float[Tensor, "rows tokens half 2"] | None:
    """Cosines and sines that turn each pair of a head's channels by its token's coordinates; None for a pure set.

    The pairs are shared out among the axes; on each, frequencies fall geometrically from 1 to 1/base per step of the axis
    (Su et al. 2021, 2104.09864, on several axes and real coordinates). Channels that are left over are not turned.
    """
    axes = positions.shape[-1]
    if axes == 0:
        return None
    each = head // 2 // axes
    frequencies = base ** (-torch.arange(each, device=positions.device, dtype=torch.float32) / max(each, 1))
    angle = (positions[..., None] * frequencies).flatten(2)
    angle = nn.functional.pad(angle, (0, head // 2 - angle.shape[-1]))
    return torch.stack((angle.cos(), angle.sin()), -1)


def turn(x: Float[Tensor, "rows heads tokens head"], angles: Float[Tensor, "rows tokens half 2"] | None) -> Tensor:
    """Rotate channel i with channel i + head / 2 by the token's angle."""
    if angles is None:
        return x
    cos, sin = (part.to(x.dtype) for part in angles[:, None].unbind(-1))
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


def sinusoid(count: int, width: int) -> Float[Tensor, "count width"]:
    """Fixed embeddings of the integers 0 … count - 1 (Vaswani et al. 2017, 1706.03762)."""
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(0, width, 2) / width)
    angle = torch.arange(count)[:, None] * frequencies
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)[:, :width]
