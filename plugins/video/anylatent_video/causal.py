"""Convolutions in time that see the past alone, and can go on where they stopped.

Space and time are convolved in turn, (2+1)D (Tran et al. 2018, 1711.11248): a fifth of the work of 3 x 3 x 3 kernels. Kernels of
three frames end at the present one; before the first frame it is repeated (zeros in Yu et al. 2023, 2310.05737, section 3.1).
`Past` holds the frames that the next chunk will need, so chunks give what the whole gives.
"""

import torch
from torch import nn

from anylatent.types import Tensor

_KERNEL = 3


class Past:
    """The last frames that each layer saw, by layer: empty before the first chunk."""

    def __init__(self) -> None:
        self.frames: dict[nn.Module, Tensor] = {}


class Layer(nn.Module):
    """Something over frames that may need those of the chunk before."""

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        raise NotImplementedError


class Chain(Layer):
    """Layers one after the other."""

    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, past)
        return x


class CausalConv(Layer):
    """A convolution over three frames, up to the present one, at each pixel. `stride` in time is 1 or 2."""

    def __init__(self, inner: int, outer: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.convolution = nn.Conv2d(inner, outer, (_KERNEL, 1), (stride, 1))

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        before = None if past is None else past.frames.get(self)
        if before is None:
            before = x[:, :, :1].expand(-1, -1, _KERNEL - 1, -1, -1)
        x = torch.cat((before, x), 2)
        if past is not None:
            # With stride 2 the last frame was the end of a window and is the beginning of the next: one is enough.
            past.frames[self] = x[:, :, x.shape[2] - (_KERNEL - self.stride) :]
        return self.convolution(x.flatten(3)).unflatten(3, x.shape[3:])


class Spatial(Layer):
    """A layer that treats each frame alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        frames = x.shape[2]
        return self.layer(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, frames)).transpose(1, 2)


class Residual(Layer):
    """x + time(silu(norm(space(silu(norm(x)))))), norms by frame, the convolution in time zero at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.space = Spatial(
            nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), _convolution(width, width), nn.GroupNorm(8, width), nn.SiLU())
        )
        self.time = CausalConv(width, width)
        nn.init.zeros_(self.time.convolution.weight)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        return x + self.time(self.space(x, past), past)


class Doubled(Layer):
    """Each frame twice, but the very first once: 1 + n frames become 1 + 2n."""

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        twice = x.repeat_interleave(2, 2)
        if past is not None and self in past.frames:
            return twice
        if past is not None:
            past.frames[self] = x[:, :, :0]
        return twice[:, :, 1:]


def encoder(channels: int, latent: int, width: int, depth: int, halvings: int, slowings: int) -> Chain:
    """Pixels to means and log variances; space is halved first, time last."""
    widths = _widths(width, halvings)
    layers: list[Layer] = [Spatial(_convolution(channels, widths[0]))]
    for level, wide in enumerate(widths):
        if level:
            layers.append(Spatial(_convolution(widths[level - 1], wide, stride=2)))
        layers += [Residual(wide) for _ in range(depth)]
    for _ in range(slowings):
        layers += [CausalConv(widths[-1], widths[-1], stride=2), Residual(widths[-1])]
    return Chain(*layers, _ending(widths[-1], 2 * latent))


def decoder(channels: int, latent: int, width: int, depth: int, halvings: int, slowings: int) -> Chain:
    """Latents to pixels; time is doubled first, space last."""
    widths = _widths(width, halvings)[::-1]
    layers: list[Layer] = [Spatial(_convolution(latent, widths[0]))]
    for _ in range(slowings):
        layers += [Residual(widths[0]), Doubled(), CausalConv(widths[0], widths[0])]
    for level, wide in enumerate(widths):
        if level:
            upwards = nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), _convolution(widths[level - 1], wide))
            layers.append(Spatial(upwards))
        layers += [Residual(wide) for _ in range(depth)]
    return Chain(*layers, _ending(widths[-1], channels))


def _ending(inner: int, outer: int) -> Layer:
    return Spatial(nn.Sequential(nn.GroupNorm(8, inner), nn.SiLU(), _convolution(inner, outer)))


def _convolution(inner: int, outer: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, 3, stride=stride, padding=1)


def _widths(width: int, halvings: int) -> list[int]:
    """Channels at each size, from the full one down."""
    return [width * min(2**level, 4) for level in range(halvings + 1)]
