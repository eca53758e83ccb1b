"""The networks of the waveform autoencoder, and the loss that they are trained by."""

from collections.abc import Sequence
from math import prod

import torch
from torch import nn
from torch.nn import functional as F

from anylatent.types import Bool, Float, Int, Tensor

_WINDOWS = (64, 256, 1024)
"""Samples of the windows that the spectral loss compares."""
_QUIET = 0.01
"""Of the loudest magnitude: differences below are hardly heard, and their gradients would drown the others."""


class Residual(nn.Module):
    """x + conv(act(conv(act(x)))) with a dilated first convolution, the second near zero at the start."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.wide = nn.Conv1d(width, width, 7, padding=3 * dilation, dilation=dilation)
        self.narrow = nn.Conv1d(width, width, 1)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Float[Tensor, "rows width time"], inside: Bool[Tensor, "rows 1 time"]) -> Float[Tensor, "rows width time"]:
        return (x + self.narrow(F.silu(self.wide(F.silu(x))))) * inside


def _sized(layer: nn.Conv1d | nn.ConvTranspose1d) -> nn.Conv1d | nn.ConvTranspose1d:
    """With weights that keep the scale of white noise: PyTorch's own shrink it at each layer, and latents begin as noise alone."""
    reach = layer.kernel_size[0] / (layer.stride[0] if isinstance(layer, nn.ConvTranspose1d) else 1)
    nn.init.normal_(layer.weight, std=(layer.in_channels * reach) ** -0.5)
    return layer


class Encoder(nn.Module):
    """Waveforms to `(B, N, C)`: a learned filter bank (Luo and Mesgarani 2019, 1809.07454), then residual blocks and strides."""

    def __init__(self, strides: Sequence[int], width: int, out: int) -> None:
        super().__init__()
        self.strides = tuple(strides)
        first, widths = strides[0], _widths(strides, width)
        self.enter = _sized(nn.Conv1d(1, width, 3 * first, first, padding=first))
        self.blocks = nn.ModuleList(_blocks(w) for w in widths)
        self.down = nn.ModuleList(_sized(nn.Conv1d(a, b, s, s)) for a, b, s in zip(widths, widths[1:], strides[1:], strict=False))
        self.leave = _sized(nn.Conv1d(widths[-1], out, 3, padding=1))

    def forward(self, wave: Float[Tensor, "rows time"], tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows tokens out"]:
        """`tokens`: how many of each row are no padding."""
        masks = _masks(tokens, wave.shape[1], self.strides)
        x = self.enter(wave[:, None]) * masks[1]
        for level, mask in enumerate(masks[1:]):
            if level:
                x = self.down[level - 1](x) * mask
            for block in self.blocks[level]:  # pyright: ignore[reportGeneralTypeIssues] (a ModuleList is iterable)
                x = block(x, mask)
        return (self.leave(F.silu(x)) * masks[-1]).transpose(1, 2)


class Decoder(nn.Module):
    """`(B, N, C)` to waveforms: the encoder's way back, each stride undone by a transposed convolution."""

    def __init__(self, strides: Sequence[int], width: int, latent: int) -> None:
        super().__init__()
        self.strides = tuple(strides)
        first, widths = strides[0], _widths(strides, width)[::-1]
        self.enter = _sized(nn.Conv1d(latent, widths[0], 7, padding=3))
        self.blocks = nn.ModuleList(_blocks(w) for w in widths)
        self.up = nn.ModuleList(
            _sized(nn.ConvTranspose1d(a, b, 3 * s, s, s)) for a, b, s in zip(widths, widths[1:], strides[:0:-1], strict=False)
        )
        self.leave = _sized(nn.ConvTranspose1d(width, 1, 3 * first, first, first))

    def forward(self, latents: Float[Tensor, "rows tokens latent"], tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows time"]:
        """`tokens`: how many of each row are no padding; what lies there is not looked at."""
        masks = _masks(tokens, latents.shape[1] * prod(self.strides), self.strides)[::-1]
        x = self.enter(latents.transpose(1, 2) * masks[0]) * masks[0]
        for level, mask in enumerate(masks[:-1]):
            if level:
                x = self.up[level - 1](F.silu(x)) * mask
            for block in self.blocks[level]:  # pyright: ignore[reportGeneralTypeIssues] (a ModuleList is iterable)
                x = block(x, mask)
        return (self.leave(F.silu(x)) * masks[-1])[:, 0]


def spectral_loss(
    made: Float[Tensor, "rows time"], real: Float[Tensor, "rows time"], lengths: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """Mean absolute difference of log magnitudes at three resolutions (Yamamoto et al. 2020, 1910.11480)."""
    total = made.new_zeros(len(made))
    for window in _WINDOWS:
        a, b = (_magnitudes(x, window) for x in (made, real))
        hop = window // 4
        # Frames whose middle lies in the sound.
        inside = (torch.arange(a.shape[1], device=a.device)[None] * hop < lengths[:, None]).float()
        loudest = b.amax((1, 2), keepdim=True).clamp(min=1e-3)
        apart = ((a / loudest + _QUIET).log() - (b / loudest + _QUIET).log()).abs().mean(2)
        total = total + (apart * inside).sum(1) / inside.sum(1)
    return total / len(_WINDOWS)


def _magnitudes(wave: Float[Tensor, "rows time"], window: int) -> Float[Tensor, "rows frames bins"]:
    """Of the windows at every quarter of one; silence lies around the sound. Scaled so that a full-scale sine has 1."""
    shape = torch.hann_window(window, device=wave.device)
    frames = F.pad(wave, (window // 2, window)).unfold(1, window, window // 4) * shape
    spectrum = torch.fft.rfft(frames) * (2 / shape.sum())
    return (spectrum.real.square() + spectrum.imag.square() + 1e-10).sqrt()


def _blocks(width: int) -> nn.ModuleList:
    return nn.ModuleList(Residual(width, dilation) for dilation in (1, 3))


def _widths(strides: Sequence[int], width: int) -> list[int]:
    """Channels after each stride."""
    return [width * min(2**level, 8) for level in range(len(strides))]


def _masks(tokens: Int[Tensor, " rows"], length: int, strides: Sequence[int]) -> list[Bool[Tensor, "rows 1 time"]]:
    """What is no padding at each rate, from the full one down."""
    masks, span = [], prod(strides)
    for stride in (*strides, 1):
        masks.append(torch.arange(length, device=tokens.device)[None, None] < (tokens * span)[:, None, None])
        length, span = length // stride, span // stride
    return masks
