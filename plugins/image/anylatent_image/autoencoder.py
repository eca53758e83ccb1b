"""A convolutional autoencoder with Gaussian latents (Kingma and Welling 2013, 1312.6114), trained by the recipe.

The layout is that of latent diffusion's first stage (Rombach et al. 2022, 2112.10752, appendix E.1) without attention and
without a discriminator; the reconstruction error is L1 + L2, because a perceptual network would have to be downloaded.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from anylatent import random
from anylatent.nn.transformer import bounded_log_variance, gaussian_kl
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Float
from anylatent_image.autoencoder_config import AutoencoderConfig

_CHUNK = 256
"""Images that are encoded or decoded at once: bounds the memory, not the result."""


class Autoencoder(Tokenizer):
    """Images `(H, W, C)` to `(H / factor) x (W / factor)` tokens, and back. Latents are normalised a channel by `fit`."""

    config: AutoencoderConfig

    def __init__(self, config: AutoencoderConfig, height: int, width: int, channels: int) -> None:
        super().__init__(config)
        self.config = config
        self.facts = {"shape": [height, width, channels]}
        self.encoder = _encoder(config, channels)
        self.decoder = _decoder(config, channels)
        self.statistics = Statistics(config.channels)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        step = float(self.config.factor)
        axes = (AxisSpec(name="y", unit="px", step=step), AxisSpec(name="x", unit="px", step=step))
        return (StreamSpec(name="image", width=self.config.channels, axes=axes, order="grid"),)

    @property
    def trainable(self) -> bool:
        return True

    @property
    def grid(self) -> tuple[int, int]:
        """Latent cells along y and x."""
        height, width, _ = self.facts["shape"]
        return height // self.config.factor, width // self.config.factor

    def loss(self, samples: Sequence[Tensor], seeds: Tensor) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        """L2 + l1_weight L1 a pixel value, + kl_weight KL a latent value; latents are drawn by row seed."""
        pixels = self._pixels(samples)
        mean, log_variance = self._posterior(pixels)
        restored = self._restored(self._draw(mean, log_variance, seeds))
        error = restored - pixels
        squared, absolute = error.square().mean((1, 2, 3)), error.abs().mean((1, 2, 3))
        divergence = gaussian_kl(mean, log_variance).mean((1, 2))
        loss = squared + self.config.l1_weight * absolute + self.config.kl_weight * divergence
        return loss, {"squared": squared.mean(), "absolute": absolute.mean(), "kl": divergence.mean()}

    @torch.no_grad()
    def fit(self, samples: Sequence[Tensor]) -> None:
        """Measure the latents' mean and standard deviation a channel."""
        latents = torch.cat([self._posterior(self._pixels(chunk))[0] for chunk in _chunks(samples)])
        self.statistics.measure(latents, torch.ones(latents.shape[:2], dtype=torch.bool, device=latents.device))

    @torch.no_grad()
    def encode(self, samples: Sequence[Tensor], seeds: Tensor | None = None) -> State:
        latents = []
        for first, chunk in enumerate(_chunks(samples)):
            mean, log_variance = self._posterior(self._pixels(chunk, first * _CHUNK))
            mine = None if seeds is None else seeds[first * _CHUNK :][: len(chunk)]
            latents.append(mean if mine is None else self._draw(mean, log_variance, mine))
        values = self.statistics.normalise(torch.cat(latents))
        return State.of({"image": Stream.of(values, self._positions(len(values)))}, seeds)

    @torch.no_grad()
    def decode(self, state: State) -> list[Tensor]:
        latents = self.statistics.restore(state["image"].values[:, : math.prod(self.grid)])  # the rest is padding
        pixels = torch.cat([self._restored(chunk) for chunk in latents.split(_CHUNK)])
        return list(pixels.clamp(-1, 1).permute(0, 2, 3, 1).contiguous().cpu())

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, object]] | None = None, size: int | None = None) -> State:
        cells = math.prod(self.grid)
        if size not in (None, cells):
            raise ValueError(f"image.autoencoder makes {cells} tokens an image ({self.grid[0]} x {self.grid[1]}), asked for size {size}")
        values = torch.zeros(len(seeds), cells, self.config.channels, device=seeds.device)
        return State.of({"image": Stream.of(values, self._positions(len(seeds)).to(seeds.device))}, seeds)

    def _pixels(self, samples: Sequence[Tensor], first: int = 0) -> Float[Tensor, "rows channels height width"]:
        expected = tuple(self.facts["shape"])
        for index, sample in enumerate(samples):
            given = tuple(sample.shape) if isinstance(sample, Tensor) else type(sample).__name__
            if given != expected:
                raise ValueError(f"sample {first + index} is {given}, expected (height, width, channels) = {expected}")
        return torch.stack(list(samples)).to(self.statistics.mean.device).permute(0, 3, 1, 2)

    def _posterior(self, pixels: Float[Tensor, "rows channels height width"]) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, `(B, N, C)` each."""
        mean, raw = self.encoder(pixels).flatten(2).transpose(1, 2).chunk(2, -1)
        return mean, bounded_log_variance(raw)

    def _draw(self, mean: Tensor, log_variance: Tensor, seeds: Tensor) -> Float[Tensor, "rows cells latent"]:
        _, cells, width = mean.shape
        return mean + (0.5 * log_variance).exp() * random.normal(seeds.to(mean.device), "image.autoencoder", 0, 0, cells, width)

    def _restored(self, latents: Float[Tensor, "rows cells latent"]) -> Float[Tensor, "rows channels height width"]:
        return self.decoder(latents.transpose(1, 2).unflatten(2, self.grid))

    def _positions(self, rows: int) -> Float[Tensor, "rows cells axes"]:
        """Centres of the latent cells in px; pixel i has its centre at i."""
        y, x = (torch.arange(cells) * float(self.config.factor) + (self.config.factor - 1) / 2 for cells in self.grid)
        centres = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flatten(0, 1)
        return centres.to(self.statistics.mean.device).expand(rows, -1, -1)


class Residual(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), the last convolution zero at the start."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.skip = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)
        last = nn.Conv2d(outer, outer, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.branch = nn.Sequential(_norm(inner), nn.SiLU(), nn.Conv2d(inner, outer, 3, padding=1), _norm(outer), nn.SiLU(), last)

    def forward(self, x: Float[Tensor, "rows inner height width"]) -> Float[Tensor, "rows outer height width"]:
        return self.skip(x) + self.branch(x)


def _encoder(config: AutoencoderConfig, channels: int) -> nn.Sequential:
    widths = _widths(config)
    parts: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1)]
    for level, width in enumerate(widths):
        if level:
            parts.append(nn.Conv2d(widths[level - 1], width, 3, stride=2, padding=1))
        parts += [Residual(width, width) for _ in range(config.depth)]
    parts += [_norm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], 2 * config.channels, 3, padding=1)]
    return nn.Sequential(*parts)


def _decoder(config: AutoencoderConfig, channels: int) -> nn.Sequential:
    widths = _widths(config)[::-1]
    parts: list[nn.Module] = [nn.Conv2d(config.channels, widths[0], 3, padding=1)]
    for level, width in enumerate(widths):
        if level:
            parts += [nn.Upsample(scale_factor=2.0, mode="nearest"), nn.Conv2d(widths[level - 1], width, 3, padding=1)]
        parts += [Residual(width, width) for _ in range(config.depth)]
    parts += [_norm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], channels, 3, padding=1)]
    return nn.Sequential(*parts)


def _widths(config: AutoencoderConfig) -> list[int]:
    """Channels at each size, from the full one down."""
    return [config.width * min(2**level, 4) for level in range(int(math.log2(config.factor)) + 1)]


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, width)


def _chunks(samples: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    return [samples[first : first + _CHUNK] for first in range(0, len(samples), _CHUNK)]
