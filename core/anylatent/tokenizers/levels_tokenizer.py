"""Rounds another tokenizer's numbers to levels, and back."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.arrays import chunks
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.levels import BitsConfig, LevelsConfig
from anylatent.tokenizers.sizes import Size
from anylatent.types import Float, Int, Tensor


class Rounded(Tokenizer):
    """The tokens of `inner`, each number rounded to one of `count` levels between `low` and `high` of its channel."""

    low: Tensor
    high: Tensor

    def __init__(self, config: LevelsConfig | BitsConfig, inner: Tokenizer, count: int) -> None:
        super().__init__(config)
        kinds = [spec.kind for spec in inner.specs]
        if kinds != ["continuous"]:
            raise ValueError(f"tokenizer '{config.kind}' rounds one stream of numbers; '{inner.config.kind}' makes {kinds}")
        self.inner, self.count_of_levels = inner, count
        self.inside = inner.specs[0]
        self.register_buffer("low", -torch.ones(self.inside.width))
        self.register_buffer("high", torch.ones(self.inside.width))
        self.facts["inner"] = inner.facts

    @abstractmethod
    def _wrap(self, levels: Int[Tensor, "rows tokens channels"], stream: Stream) -> Stream:
        """Levels of `inner`'s tokens as this tokenizer's."""

    @abstractmethod
    def _unwrap(self, stream: Stream) -> tuple[Int[Tensor, "rows tokens channels"], Stream]:
        """The levels, and a stream with the places of `inner`'s tokens."""

    @property
    def trainable(self) -> bool:
        return self.inner.trainable

    def prepare(self, samples: Sequence[Any]) -> None:
        self.inner.prepare(samples)
        self.facts["inner"] = self.inner.facts

    def loss(self, samples: Sequence[Any], seeds: Tensor) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        return self.inner.loss(samples, seeds)

    def fit(self, samples: Sequence[Any]) -> None:
        """The inner tokenizer, then the range of each channel."""
        self.inner.fit(samples)
        self.facts["inner"] = self.inner.facts
        low, high = torch.full_like(self.low, torch.inf), torch.full_like(self.high, -torch.inf)
        for chunk in chunks(samples):
            stream = self.inner.encode(chunk)[self.inside.name]
            values = stream.values[stream.mask]
            low, high = torch.minimum(low, values.amin(0)), torch.maximum(high, values.amax(0))
        self.low, self.high = low, high

    def restore(self, facts: Mapping[str, Any]) -> None:
        super().restore(facts)
        self.inner.restore(facts["inner"])

    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        inner = self.inner.encode(samples, seeds)
        stream = inner[self.inside.name]
        share = (stream.values - self.low) / (self.high - self.low).clamp(min=1e-12)
        levels = (share * (self.count_of_levels - 1)).round().clamp(0, self.count_of_levels - 1).long()
        return replace(inner, streams={self.inside.name: self._wrap(levels, stream)})

    def decode(self, state: State) -> list[Any]:
        levels, stream = self._unwrap(state[self.inside.name])
        values = self.low + levels / (self.count_of_levels - 1) * (self.high - self.low)
        whole = replace(stream, values=values * stream.mask[..., None])
        return self.inner.decode(replace(state, streams={self.inside.name: whole}))

    @property
    def size_axes(self) -> tuple[AxisSpec, ...]:
        return self.inner.size_axes

    @property
    def local_axes(self) -> tuple[AxisSpec, ...]:
        return self.inner.local_axes

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        state = self.inner.layout(seeds, conditions, size)
        stream = state[self.inside.name]
        wrapped = self._wrap(torch.zeros_like(stream.values, dtype=torch.long), stream)
        return replace(state, streams={self.inside.name: replace(wrapped, values=torch.zeros_like(wrapped.values))})


class LevelsTokenizer(Rounded):
    """One token `(K)` a number: one-hot, of `levels` entries and the mask."""

    config: LevelsConfig

    def __init__(self, config: LevelsConfig, inner: Tokenizer) -> None:
        super().__init__(config, inner, config.levels)
        if self.inside.order == "set" and self.inside.width > 1:
            raise ValueError(
                f"tokenizer 'levels' makes {self.inside.width} tokens of each element, and in a set nothing would tell which belong "
                "together: use 'bits'"
            )

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        inside = self.inside
        axes = inside.axes + ((AxisSpec(name="channel", unit="1"),) if inside.width > 1 else ())
        width = self.config.levels + (self.config.prior == "mask")
        changes = {"kind": "categorical", "width": width, "axes": axes, "prior": self.config.prior, "centred": ()}
        return (inside.model_copy(update=changes),)

    def _wrap(self, levels: Int[Tensor, "rows tokens channels"], stream: Stream) -> Stream:
        channels = self.inside.width
        mask = stream.mask.repeat_interleave(channels, 1)
        values = torch.nn.functional.one_hot(levels.flatten(1), self.specs[0].width).to(stream.values.dtype)
        positions = stream.positions.repeat_interleave(channels, 1)
        if channels > 1:
            channel = torch.arange(channels, device=positions.device).repeat(stream.shape[1]).expand(mask.shape)
            positions = torch.cat((positions, channel[..., None].to(positions.dtype)), -1) * mask[..., None]
        return Stream.of(values * mask[..., None], positions, mask)

    def _unwrap(self, stream: Stream) -> tuple[Int[Tensor, "rows tokens channels"], Stream]:
        channels = self.inside.width
        whole = stream.shape[1] // channels * channels
        levels = stream.values[:, :whole, : self.config.levels].argmax(-1).unflatten(1, (-1, channels))
        first = stream.map(lambda x: x[:, :whole:channels])
        return levels, replace(first, positions=first.positions[..., : len(self.inside.axes)])


class BitsTokenizer(Rounded):
    """One token a token of `inner`: the bits of each of its numbers, the highest first."""

    config: BitsConfig

    def __init__(self, config: BitsConfig, inner: Tokenizer) -> None:
        super().__init__(config, inner, 2**config.bits)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        kind, prior = ("continuous", "normal") if self.config.analog else ("binary", "uniform")
        changes = {"kind": kind, "width": self.inside.width * self.config.bits, "prior": prior, "centred": ()}
        return (self.inside.model_copy(update=changes),)

    @property
    def _places(self) -> Int[Tensor, " bits"]:
        return torch.arange(self.config.bits - 1, -1, -1, device=self.low.device)

    def _wrap(self, levels: Int[Tensor, "rows tokens channels"], stream: Stream) -> Stream:
        code = levels ^ (levels >> 1) if self.config.gray else levels
        bits = ((code[..., None] >> self._places) & 1).flatten(2).to(stream.values.dtype)
        values = 2 * bits - 1 if self.config.analog else bits
        return replace(stream, values=values * stream.mask[..., None])

    def _unwrap(self, stream: Stream) -> tuple[Int[Tensor, "rows tokens channels"], Stream]:
        bits = (stream.values > (0 if self.config.analog else 0.5)).long().unflatten(-1, (self.inside.width, self.config.bits))
        if self.config.gray:  # a level's bit is the parity of the code's bits down to it
            bits = bits.cumsum(-1) % 2
        return (bits << self._places).sum(-1), stream
