"""The KL autoencoder's network and its tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from anylatent import random
from anylatent.nn.layers import Linear
from anylatent.nn.transformer import Transformer, bounded_log_variance, gaussian_kl
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.arrays import chunks
from anylatent.tokenizers.autoencoder import AutoencoderConfig
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.sizes import Size
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Float, Tensor


class AutoencoderTokenizer(Tokenizer):
    """Tokens of `inner` to Gaussian latent tokens at the same places, and back; the latents have zero mean and unit variance."""

    config: AutoencoderConfig

    def __init__(self, config: AutoencoderConfig, inner: Tokenizer) -> None:
        super().__init__(config)
        if len(inner.specs) != 1:
            raise ValueError(
                f"tokenizer 'autoencoder' works on one stream; '{inner.config.kind}' makes {[spec.name for spec in inner.specs]}"
            )
        self.inner = inner
        self.inside = inner.specs[0]
        width, latent = config.width, config.latent
        self.enter, self.leave = Linear(self.inside.width, width, "embed"), Linear(width, 2 * latent, "readout")
        self.encoder = Transformer(width, config.heads, config.depth)
        self.back, self.out = Linear(latent, width, "embed"), Linear(width, self.inside.width, "readout")
        self.decoder = Transformer(width, config.heads, config.depth)
        self.statistics = Statistics(latent)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        return (self.inside.model_copy(update={"width": self.config.latent, "prior": "normal", "centred": ()}),)

    @property
    def trainable(self) -> bool:
        return True

    def prepare(self, samples: Sequence[Any]) -> None:
        self.inner.fit(samples)
        self.facts["inner"] = self.inner.facts

    def restore(self, facts: Mapping[str, Any]) -> None:
        super().restore(facts)
        self.inner.restore(facts["inner"])

    def fit(self, samples: Sequence[Any]) -> None:
        """The latents' statistics, with the trained encoder."""
        self.statistics = Statistics(self.config.latent).to(self.statistics.mean.device)
        streams = (self.encode(chunk)[self.inside.name] for chunk in chunks(samples))
        self.statistics.measure_batches((stream.values, stream.mask) for stream in streams)

    def _places(self, stream: Stream) -> Tensor:
        steps = torch.tensor([axis.step for axis in self.inside.axes], device=stream.values.device)
        return stream.positions / steps

    def _posterior(self, stream: Stream) -> tuple[Tensor, Tensor]:
        x = self.encoder(self.enter(stream.values), self._places(stream), stream.mask)
        mean, raw = self.leave(x).chunk(2, -1)
        return mean, bounded_log_variance(raw)

    def _reconstruct(self, latents: Float[Tensor, "rows tokens latent"], stream: Stream) -> Float[Tensor, "rows tokens width"]:
        return self.out(self.decoder(self.back(latents), self._places(stream), stream.mask))

    def loss(self, samples: Sequence[Any], seeds: Tensor) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        """Squared error of the inner tokens + kl times the divergence, mean over valid tokens."""
        stream = self.inner.encode(samples)[self.inside.name]
        mean, log_variance = self._posterior(stream)
        noise = random.normal(seeds, "posterior", 0, 0, mean.shape[1], mean.shape[2])
        tokens = self._reconstruct(mean + (log_variance / 2).exp() * noise, stream)
        weight = stream.mask / stream.mask.sum(1, keepdim=True)
        error = ((tokens - stream.values).square().mean(-1) * weight).sum(1)
        divergence = (gaussian_kl(mean, log_variance).mean(-1) * weight).sum(1)
        return error + self.config.kl * divergence, {"reconstruction": error.mean(), "kl": divergence.mean()}

    @torch.no_grad()
    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        inner = self.inner.encode(samples)
        stream = inner[self.inside.name]
        mean, log_variance = self._posterior(stream)
        if seeds is not None:
            mean = mean + (log_variance / 2).exp() * random.normal(seeds, "posterior", 0, 0, mean.shape[1], mean.shape[2])
        latents = self.statistics.normalise(mean) * stream.mask[..., None]
        return replace(inner, streams={self.inside.name: replace(stream, values=latents)})

    @torch.no_grad()
    def decode(self, state: State) -> list[Any]:
        stream = state[self.inside.name]
        tokens = self._reconstruct(self.statistics.restore(stream.values), stream)
        return self.inner.decode(state.with_values({self.inside.name: tokens * stream.mask[..., None]}))

    @property
    def size_axes(self) -> tuple[AxisSpec, ...]:
        return self.inner.size_axes

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        state = self.inner.layout(seeds, conditions, size)
        stream = state[self.inside.name]
        return state.with_values({self.inside.name: stream.values.new_zeros(*stream.mask.shape, self.config.latent)})
