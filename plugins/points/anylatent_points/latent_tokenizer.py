"""The set autoencoder's networks and its tokenizer."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from anylatent import random
from anylatent.condition import TokenSet
from anylatent.nn.dit import CrossAttention
from anylatent.nn.layers import Linear
from anylatent.nn.transformer import Transformer, bounded_log_variance, gaussian_kl
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.arrays import chunks
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.sizes import Size, asked_sizes, told
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Float, Tensor
from anylatent_points.cloud import Cloud, made
from anylatent_points.fields import mesh_of, probes
from anylatent_points.latent import LatentConfig
from anylatent_points.surface import sample_surfaces
from anylatent_points.token_tokenizers import require

_FREQUENCIES = 6
"""Octaves of a coordinate's sines and cosines, from half a wave over the cube."""
_ASKED = 8192
"""Coordinates that are decoded together: bounds the memory."""


class Look(nn.Module):
    """x + attention to a set, then x + mlp (Zhang et al. 2023, 2301.11445, eq. 5 and 8)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_x, self.norm_set, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CrossAttention(width, heads)
        self.mlp = nn.Sequential(Linear(width, 2 * width, "mlp_in"), nn.GELU(approximate="tanh"), Linear(2 * width, width, "mlp_out"))

    def forward(self, x: Float[Tensor, "rows queries width"], seen: TokenSet) -> Float[Tensor, "rows queries width"]:
        x = x + self.attention(self.norm_x(x), TokenSet(self.norm_set(seen.values), seen.mask))
        return x + self.mlp(self.norm_mlp(x))


class Places(nn.Module):
    """Coordinates in the cube to vectors: themselves, sines and cosines, then a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = Linear(3 + 6 * _FREQUENCIES, width, "embed")

    def forward(self, at: Float[Tensor, "rows n 3"]) -> Float[Tensor, "rows n width"]:
        octaves = torch.pi / 2 * 2.0 ** torch.arange(_FREQUENCIES, device=at.device)
        angles = (at[..., None] * octaves).flatten(2)
        return self.layer(torch.cat((at, angles.sin(), angles.cos()), -1))


class Latent(Tokenizer):
    """A cloud to K latents, and back to a field, its mesh, and points on that.

    K learned queries look at the points: the latents do not depend on the points' order, and each has a place (its
    number) but none in space. They are normalised a channel by `fit`.
    """

    config: LatentConfig

    def __init__(self, config: LatentConfig, example: Any) -> None:
        super().__init__(config)
        require([example], config.kind)
        width = config.width
        self.queries = nn.Parameter(torch.randn(config.latents, width) * 0.5)
        self.points, self.places = Places(width), Places(width)
        self.encoder, self.decoder = Look(width, config.heads), Look(width, config.heads)
        self.leave, self.back = Linear(width, 2 * config.channels, "readout"), Linear(config.channels, width, "embed")
        self.slots = nn.Parameter(torch.randn(config.latents, width) * 0.02)
        self.mixer = Transformer(width, config.heads, config.depth)
        self.out_norm, self.out = nn.LayerNorm(width), Linear(width, 1, "readout")
        self.statistics = Statistics(config.channels)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        axes = (AxisSpec(name="latent", unit="index"),)
        return (StreamSpec(name="latents", width=self.config.channels, axes=axes, order="sequence"),)

    @property
    def trainable(self) -> bool:
        return True

    def loss(self, samples: Sequence[Any], seeds: Tensor) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        """Cross-entropy of occupancy (or mean absolute error of the clipped distance) at random probes, + kl times the divergence."""
        mean, log_variance = self._posterior(samples)
        latents = mean + (log_variance / 2).exp() * self._noise(seeds, mean)
        at, target = self._known(samples, seeds)
        values = self.field(latents, at)
        if self.config.field == "occupancy":
            error = nn.functional.binary_cross_entropy_with_logits(values, target, reduction="none").mean(1)
        else:
            error = (values - target).abs().mean(1)
        divergence = gaussian_kl(mean, log_variance).mean((1, 2))
        right = ((values > 0) == (target > (0.5 if self.config.field == "occupancy" else 0))).float().mean()
        return error + self.config.kl * divergence, {"error": error.mean(), "right": right, "kl": divergence.mean()}

    @torch.no_grad()
    def fit(self, samples: Sequence[Any]) -> None:
        """Measure the latents' mean and standard deviation a channel."""
        self.statistics = Statistics(self.config.channels).to(self.statistics.mean.device)
        means = (self._posterior(chunk)[0] for chunk in chunks(samples))
        self.statistics.measure_batches((mean, torch.ones(mean.shape[:2], dtype=torch.bool, device=mean.device)) for mean in means)

    @torch.no_grad()
    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        mean, log_variance = self._posterior(samples)
        latents = mean if seeds is None else mean + (log_variance / 2).exp() * self._noise(seeds, mean)
        return State.of({"latents": Stream.of(self.statistics.normalise(latents), self._numbers(len(samples)))}, seeds)

    @torch.no_grad()
    def decode(self, state: State) -> list[Cloud]:
        """Points by row seed on the mesh of the field; where that is positive nowhere, the likeliest coordinates, without a mesh."""
        found = []
        for latents, seed in zip(self.latents_of(state).split(1), state.seeds.tolist(), strict=True):
            mesh, likeliest = mesh_of(lambda at, latents=latents: self.ask(latents, at), self.config.grid)
            if mesh is None:
                found.append(made(likeliest[: self.config.points]))
                continue
            (points,) = sample_surfaces([mesh], self.config.points, [seed], even=True)
            found.append(made(points, mesh))
        return found

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        if asked_sizes(size, ()) not in ((None,), (self.config.latents,)):
            raise ValueError(f"size {told(size)}: {self.config.kind} makes {self.config.latents} latents a cloud, of no other size")
        values = torch.zeros(len(seeds), self.config.latents, self.config.channels, device=seeds.device)
        return State.of({"latents": Stream.of(values, self._numbers(len(seeds)).to(seeds.device))}, seeds)

    def latents_of(self, state: State) -> Float[Tensor, "rows latents channels"]:
        """The latents of a state in their own scale, without padding."""
        return self.statistics.restore(state["latents"].values[:, : self.config.latents])

    def ask(self, latents: Float[Tensor, "1 latents channels"], at: Float[Tensor, "queries 3"]) -> Float[Tensor, " queries"]:
        """The field of one shape at any coordinates: positive inside (of the surface, or of the shell around it)."""
        mixed = self._mixed(latents)
        parts = [self._asked(mixed, part[None].to(latents.device))[0] for part in at.split(_ASKED)]
        return torch.cat(parts).cpu()

    def field(self, latents: Float[Tensor, "rows latents channels"], at: Float[Tensor, "rows queries 3"]) -> Float[Tensor, "rows queries"]:
        """The field of each row's shape at the row's coordinates."""
        return self._asked(self._mixed(latents), at)

    def _mixed(self, latents: Tensor) -> TokenSet:
        mask = torch.ones(latents.shape[:2], dtype=torch.bool, device=latents.device)
        x = self.back(latents) + self.slots
        return TokenSet(self.mixer(x, x.new_zeros(*x.shape[:2], 0), mask), mask)

    def _asked(self, mixed: TokenSet, at: Tensor) -> Tensor:
        return self.out(self.out_norm(self.decoder(self.places(at), mixed)))[..., 0]

    def _posterior(self, samples: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, `(B, K, channels)` each."""
        require(samples, self.config.kind)
        points = nn.utils.rnn.pad_sequence([sample.points for sample in samples], batch_first=True).to(self.queries.device)
        sizes = torch.tensor([len(sample) for sample in samples], device=points.device)
        seen = TokenSet(self.points(points), torch.arange(points.shape[1], device=points.device)[None] < sizes[:, None])
        x = self.encoder(self.queries.expand(len(points), -1, -1), seen)
        mean, raw = self.leave(x).chunk(2, -1)
        return mean, bounded_log_variance(raw)

    def _known(self, samples: Sequence[Any], seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates of each row, and what the field is to be there."""
        at, target = [], []
        for index, sample in enumerate(samples):
            known = probes(sample)
            if self.config.field == "occupancy" and known.inside is None:
                raise ValueError(
                    f"sample {index} is a bare cloud: {self.config.kind} learns occupancy from samples with meshes; "
                    "choose `field: distance`"
                )
            u = random.uniform(seeds[index : index + 1].cpu(), "probes", 0, 0, self.config.queries)[0]
            chosen = (u.double() * len(known.at)).long()
            at.append(known.at[chosen])
            target.append(self._target(known)[chosen])
        return torch.stack(at).to(self.queries.device), torch.stack(target).to(self.queries.device)

    def _target(self, known) -> Tensor:
        if self.config.field == "occupancy":
            return known.inside.float()
        return (1 - known.distance / self.config.shell).clamp(min=-4)

    def _noise(self, seeds: Tensor, mean: Tensor) -> Tensor:
        return random.normal(seeds.to(mean.device), "posterior", 0, 0, mean.shape[1], mean.shape[2])

    def _numbers(self, rows: int) -> Float[Tensor, "rows latents 1"]:
        return torch.arange(self.config.latents, device=self.queries.device).float()[:, None].expand(rows, -1, -1)
