"""A causal spatio-temporal autoencoder with Gaussian latents (Kingma and Welling 2013, 1312.6114), trained by the recipe.

The layout in time is that of MAGVIT-v2 (Yu et al. 2023, 2310.05737, section 3.1): the first frame alone, then groups of frames, each
layer blind to the future. So one network encodes images and clips of any length, and a prefix does not know what follows.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from anylatent import random
from anylatent.nn.transformer import bounded_log_variance, gaussian_kl
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.arrays import alike, describe, is_clean
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.sizes import Size, asked_sizes, told
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Float
from anylatent_video.autoencoder_config import AutoencoderConfig
from anylatent_video.causal import Past, decoder, encoder

_ROWS = 32
"""Clips that are encoded or decoded at once: bounds the memory, not the result."""


class Autoencoder(Tokenizer):
    """Clips `(1 + n * time, H, W, C)` to `(1 + n) x (H / factor) x (W / factor)` tokens, and back.

    Latents are normalised a channel by `fit`. Clips of several sizes may share a batch.
    """

    config: AutoencoderConfig

    def __init__(self, config: AutoencoderConfig, height: int, width: int, channels: int, frames: int, step: float) -> None:
        super().__init__(config)
        self.config = config
        self.step = step
        self.facts = {"shape": [height, width, channels], "lengths": [[frames, 1]]}
        sizes = (config.width, config.depth, int(math.log2(config.factor)), int(math.log2(config.time)))
        self.encoder = encoder(channels, config.channels, *sizes)
        self.decoder = decoder(channels, config.channels, *sizes)
        self.statistics = Statistics(config.channels)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        space = float(self.config.factor)
        axes = (
            AxisSpec(name="t", unit="s", step=self.step * self.config.time),
            AxisSpec(name="y", unit="px", step=space),
            AxisSpec(name="x", unit="px", step=space),
        )
        return (StreamSpec(name="video", width=self.config.channels, axes=axes, order="grid"),)

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
            latents = self._draw(mean, log_variance, seeds[rows])
            error = self.decoder(self._folded(latents, pixels.shape[2:])) - pixels
            squared, absolute = error.square().mean((1, 2, 3, 4)), error.abs().mean((1, 2, 3, 4))
            divergence = gaussian_kl(mean, log_variance).mean((1, 2))
            loss = squared + self.config.l1_weight * absolute + self.config.kl_weight * divergence
            losses = losses.index_put((rows.to(losses.device),), loss)
            terms = {"squared": squared, "absolute": absolute, "kl": divergence}
            share = len(rows) / len(samples)
            numbers = {name: numbers.get(name, 0) + share * each.mean() for name, each in terms.items()}
        return losses, numbers

    @torch.no_grad()
    def fit(self, samples: Sequence[Tensor]) -> None:
        """Lengths, and the latents' mean and standard deviation a channel."""
        self._check(samples)
        self.facts["lengths"] = [list(pair) for pair in sorted(Counter(len(sample) for sample in samples).items())]
        means = (self._chunked(pixels)[0] for _, pixels in self._groups(samples))
        self.statistics.measure_batches((mean, torch.ones(mean.shape[:2], dtype=torch.bool, device=mean.device)) for mean in means)

    @torch.no_grad()
    def encode(self, samples: Sequence[Tensor], seeds: Tensor | None = None) -> State:
        self._check(samples)
        found: dict[int, State] = {}
        for rows, pixels in self._groups(samples):
            mean, log_variance = self._chunked(pixels)
            values = self.statistics.normalise(mean if seeds is None else self._draw(mean, log_variance, seeds[rows]))
            part = State.of({"video": Stream.of(values, self._positions(pixels.shape[2:]).expand(len(rows), -1, -1))})
            found |= {row: part.select([place]) for place, row in enumerate(rows.tolist())}
        state = State.cat([found[row] for row in range(len(samples))])
        return State.of(state.streams, seeds)

    @torch.no_grad()
    def decode(self, state: State) -> list[Tensor]:
        stream = state["video"]
        sizes = [self._size(positions[mask]) for positions, mask in zip(stream.positions, stream.mask, strict=True)]
        made: dict[int, Tensor] = {}
        for size, rows in alike(sizes, _ROWS):
            latents = self.statistics.restore(stream.values[rows, : math.prod(self._cells(size))])
            pixels = self._decoded(self._folded(latents, size)).clamp(-1, 1).permute(0, 2, 3, 4, 1).contiguous().cpu()
            made |= dict(zip(rows, pixels, strict=True))
        return [made[row] for row in range(len(sizes))]

    @property
    def size_axes(self) -> tuple[AxisSpec, ...]:
        return tuple(axis.model_copy(update={"step": step}) for axis, step in zip(self.specs[0].axes, (self.step, 1.0, 1.0), strict=True))

    @property
    def local_axes(self) -> tuple[AxisSpec, ...]:
        """Time: the decoder is causal. Height and width are convolved both ways."""
        return self.size_axes[:1]

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, object]] | None = None, size: Size = None) -> State:
        """Sizes as training saw them. `size`: frames of a clip, 1 (an image) or 1 + n * time; height and width in px."""
        frames, *sides = asked_sizes(size, self.size_axes, (1, self.config.factor, self.config.factor))
        if frames is not None and (frames - 1) % self.config.time:
            raise ValueError(f"size {told(size)}: video.autoencoder makes clips of 1 + n * {self.config.time} frames")
        height, width = (own if pixels is None else pixels for own, pixels in zip(self.facts["shape"], sides, strict=False))
        lengths, counts = zip(*self.facts["lengths"], strict=True)
        edges = torch.tensor(counts, dtype=torch.float32).cumsum(0) / sum(counts)
        drawn = torch.searchsorted(edges, random.uniform(seeds.cpu(), "layout", 0, 0, 1)[:, 0]).clamp(max=len(lengths) - 1)
        rows = []
        for choice in drawn.tolist():
            positions = self._positions((frames or lengths[choice], height, width))[None]
            rows.append(State.of({"video": Stream.of(torch.zeros(*positions.shape[:2], self.config.channels), positions.cpu())}))
        return State.of(State.cat(rows).to(seeds.device).streams, seeds)

    def _check(self, samples: Sequence[Tensor]) -> None:
        time, factor, channels = self.config.time, self.config.factor, self.facts["shape"][2]
        for index, sample in enumerate(samples):
            fits = is_clean(sample, 4, channels) and not any(side % factor for side in sample.shape[1:3])
            if not fits or (len(sample) - 1) % time:
                raise ValueError(
                    f"sample {index}: expected finite float32 numbers (1 + n * {time} frames, height, width, {channels} channels), sides "
                    f"that are multiples of {factor}, given {describe(sample)}"
                )

    def _groups(self, samples: Sequence[Tensor]) -> Iterator[tuple[Tensor, Float[Tensor, "rows channels frames height width"]]]:
        """Indices and pixels of clips of one size, some at a time."""
        for _, rows in alike([tuple(sample.shape[:3]) for sample in samples], _ROWS):
            pixels = torch.stack([samples[row] for row in rows]).to(self.statistics.mean.device)
            yield torch.tensor(rows), pixels.permute(0, 4, 1, 2, 3)

    def _posterior(self, pixels: Tensor, past: Past | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, `(B, N, C)` each."""
        mean, raw = self.encoder(pixels, past).flatten(2).transpose(1, 2).chunk(2, -1)
        return mean, bounded_log_variance(raw)

    def _chunked(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """`_posterior`, `config.chunk` latent times at once."""
        past, size = Past(), self.config.chunk * self.config.time
        first = 1 + size - self.config.time
        edges = [0, *range(first, pixels.shape[2], size), pixels.shape[2]]
        parts = [self._posterior(pixels[:, :, begin:end], past) for begin, end in pairwise(edges)]
        means, log_variances = zip(*parts, strict=True)
        return torch.cat(means, 1), torch.cat(log_variances, 1)

    def _decoded(self, latents: Tensor) -> Tensor:
        """The decoder, `config.chunk` latent times at once."""
        past = Past()
        return torch.cat([self.decoder(chunk, past) for chunk in latents.split(self.config.chunk, 2)], 2)

    def _draw(self, mean: Tensor, log_variance: Tensor, seeds: Tensor) -> Float[Tensor, "rows cells latent"]:
        _, cells, width = mean.shape
        return mean + (0.5 * log_variance).exp() * random.normal(seeds.to(mean.device), "video.autoencoder", 0, 0, cells, width)

    def _folded(self, latents: Float[Tensor, "rows cells latent"], size: Sequence[int]) -> Float[Tensor, "rows latent times height width"]:
        return latents.transpose(1, 2).unflatten(2, self._cells(size))

    def _cells(self, size: Sequence[int]) -> tuple[int, int, int]:
        """Latent cells along t, y and x of a clip of so many frames, height and width."""
        frames, height, width = size
        return 1 + (frames - 1) // self.config.time, height // self.config.factor, width // self.config.factor

    def _positions(self, size: Sequence[int]) -> Float[Tensor, "cells axes"]:
        """Centres of the latent cells, in s and px; frame i is at i * step, pixel i has its centre at i."""
        time, factor = self.config.time, self.config.factor
        times, *sides = self._cells(size)
        t = torch.cat((torch.zeros(1), torch.arange(1, times) * time - (time - 1) / 2)) * self.step
        y, x = (torch.arange(cells) * float(factor) + (factor - 1) / 2 for cells in sides)
        return torch.cartesian_prod(t, y, x).to(self.statistics.mean.device)

    def _size(self, positions: Float[Tensor, "cells axes"]) -> tuple[int, int, int]:
        """Frames, height and width of the clip that has its latent cells there."""
        t, y, x = positions.amax(0).tolist()
        side = (self.config.factor + 1) / 2
        return round(t / self.step + (self.config.time - 1) / 2 * (t > 0)) + 1, round(y + side), round(x + side)
