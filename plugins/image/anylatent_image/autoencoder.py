"""A convolutional autoencoder with Gaussian latents (Kingma and Welling 2013, 1312.6114), trained by the recipe.

The layout is that of latent diffusion's first stage (Rombach et al. 2022, 2112.10752, appendix E.1) without attention and
without a discriminator; the reconstruction error is L1 + L2, because a perceptual network would have to be downloaded.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from anylatent import random
from anylatent.nn.transformer import bounded_log_variance, gaussian_kl
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.arrays import alike, describe, is_clean
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.sizes import Size, asked_sizes
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Float
from anylatent_image.autoencoder_config import AutoencoderConfig

_CHUNK = 256
"""Images that are encoded or decoded at once: bounds the memory, not the result."""


class Autoencoder(Tokenizer):
    """Images `(H, W, C)` to `(H / factor) x (W / factor)` tokens, and back. Latents are normalised a channel by `fit`.

    The networks are convolutions: images of other sizes than those of training can be asked for, and may share a batch. They are
    restored worse (rows of digits with 2.3 times a digit's error), because norms see the whole picture.
    """

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

    def loss(self, samples: Sequence[Tensor], seeds: Tensor) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        """L2 + l1_weight L1 a pixel value, + kl_weight KL a latent value; latents are drawn by row seed."""
        self._check(samples)
        losses = torch.zeros(len(samples), device=self.statistics.mean.device)
        numbers: dict[str, Tensor] = {}
        for rows, pixels in self._groups(samples):
            mean, log_variance = self._posterior(pixels)
            error = self._restored(self._draw(mean, log_variance, seeds[rows]), pixels.shape[2:]) - pixels
            squared, absolute = error.square().mean((1, 2, 3)), error.abs().mean((1, 2, 3))
            divergence = gaussian_kl(mean, log_variance).mean((1, 2))
            loss = squared + self.config.l1_weight * absolute + self.config.kl_weight * divergence
            losses = losses.index_put((rows.to(losses.device),), loss)
            terms = {"squared": squared, "absolute": absolute, "kl": divergence}
            share = len(rows) / len(samples)
            numbers = {name: numbers.get(name, 0) + share * each.mean() for name, each in terms.items()}
        return losses, numbers

    @torch.no_grad()
    def fit(self, samples: Sequence[Tensor]) -> None:
        """Measure the latents' mean and standard deviation a channel."""
        self._check(samples)
        means = (self._posterior(pixels)[0] for _, pixels in self._groups(samples))
        self.statistics.measure_batches((mean, torch.ones(mean.shape[:2], dtype=torch.bool, device=mean.device)) for mean in means)

    @torch.no_grad()
    def encode(self, samples: Sequence[Tensor], seeds: Tensor | None = None) -> State:
        self._check(samples)
        parts, places = [], []
        for rows, pixels in self._groups(samples):
            mean, log_variance = self._posterior(pixels)
            values = self.statistics.normalise(mean if seeds is None else self._draw(mean, log_variance, seeds[rows]))
            parts.append(State.of({"image": Stream.of(values, self._positions(pixels.shape[2:]).expand(len(rows), -1, -1))}))
            places.append(rows)
        state = State.cat(parts).select(torch.cat(places).argsort())
        return State.of(state.streams, seeds)

    @torch.no_grad()
    def decode(self, state: State) -> list[Tensor]:
        stream = state["image"]
        sizes = [self._size(positions[mask]) for positions, mask in zip(stream.positions, stream.mask, strict=True)]
        made: dict[int, Tensor] = {}
        for size, rows in alike(sizes, _CHUNK):
            latents = self.statistics.restore(stream.values[rows, : math.prod(size) // self.config.factor**2])  # the rest is padding
            pixels = self._restored(latents, size).clamp(-1, 1).permute(0, 2, 3, 1).contiguous().cpu()
            made |= dict(zip(rows, pixels, strict=True))
        return [made[row] for row in range(len(sizes))]

    @property
    def size_axes(self) -> tuple[AxisSpec, ...]:
        return tuple(axis.model_copy(update={"step": 1.0}) for axis in self.specs[0].axes)

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, object]] | None = None, size: Size = None) -> State:
        """Images as large as training's. `size`: height and width in px, multiples of `factor`."""
        asked = asked_sizes(size, self.size_axes, [self.config.factor] * 2)
        height, width = (own if pixels is None else pixels for own, pixels in zip(self.facts["shape"], asked, strict=False))
        positions = self._positions((height, width)).to(seeds.device).expand(len(seeds), -1, -1)
        values = torch.zeros(*positions.shape[:2], self.config.channels, device=seeds.device)
        return State.of({"image": Stream.of(values, positions)}, seeds)

    def _check(self, samples: Sequence[Tensor]) -> None:
        factor, channels = self.config.factor, self.facts["shape"][2]
        for index, sample in enumerate(samples):
            if not is_clean(sample, 3, channels) or any(side % factor for side in sample.shape[:2]):
                raise ValueError(
                    f"sample {index}: expected finite float32 numbers (height, width, {channels} channels), sides that are multiples of "
                    f"{factor}, given {describe(sample)}"
                )

    def _groups(self, samples: Sequence[Tensor]) -> Iterator[tuple[Tensor, Float[Tensor, "rows channels height width"]]]:
        """Indices and pixels of images of one size, some at a time."""
        for _, rows in alike([tuple(sample.shape[:2]) for sample in samples], _CHUNK):
            pixels = torch.stack([samples[row] for row in rows]).to(self.statistics.mean.device)
            yield torch.tensor(rows), pixels.permute(0, 3, 1, 2)

    def _posterior(self, pixels: Float[Tensor, "rows channels height width"]) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, `(B, N, C)` each."""
        mean, raw = self.encoder(pixels).flatten(2).transpose(1, 2).chunk(2, -1)
        return mean, bounded_log_variance(raw)

    def _draw(self, mean: Tensor, log_variance: Tensor, seeds: Tensor) -> Float[Tensor, "rows cells latent"]:
        _, cells, width = mean.shape
        return mean + (0.5 * log_variance).exp() * random.normal(seeds.to(mean.device), "image.autoencoder", 0, 0, cells, width)

    def _restored(self, latents: Float[Tensor, "rows cells latent"], size: Sequence[int]) -> Float[Tensor, "rows channels height width"]:
        return self.decoder(latents.transpose(1, 2).unflatten(2, [side // self.config.factor for side in size]))

    def _positions(self, size: Sequence[int]) -> Float[Tensor, "cells axes"]:
        """Centres of the latent cells in px; pixel i has its centre at i."""
        factor = self.config.factor
        y, x = (torch.arange(side // factor) * float(factor) + (factor - 1) / 2 for side in size)
        return torch.cartesian_prod(y, x).to(self.statistics.mean.device)

    def _size(self, positions: Float[Tensor, "cells axes"]) -> tuple[int, ...]:
        """Height and width in px of the image that has its latent cells there."""
        return tuple(round(last + (self.config.factor + 1) / 2) for last in positions.amax(0).tolist())


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
