"""Ragged sets to padded tokens and back."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anylatent import random
from anylatent.spec import StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.arrays import chunks, describe, is_clean
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.set import SetConfig
from anylatent.tokenizers.sizes import Size, asked_sizes
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Int, Tensor


def draw_size(sizes: Sequence[tuple[int, int]], seeds: Int[Tensor, " rows"]) -> list[int]:
    """Numbers of elements, drawn by row seed from `(size, count)` pairs."""
    edges = torch.tensor([count for _, count in sizes], dtype=torch.float32).cumsum(0)
    drawn = random.uniform(seeds.cpu(), "layout", 0, 0, 1)[:, 0] * edges[-1]
    return [sizes[i][0] for i in torch.searchsorted(edges, drawn).clamp(max=len(sizes) - 1).tolist()]


def empty_set(stream: str, sizes: Sequence[int], width: int, seeds: Int[Tensor, " rows"]) -> State:
    """Rows of zeros with `sizes` valid tokens."""
    mask = torch.arange(max(sizes))[None] < torch.tensor(sizes)[:, None]
    return State.of({stream: Stream.of(torch.zeros(*mask.shape, width), mask=mask)}, seeds)


class SetTokenizer(Tokenizer):
    """Samples `(elements, channels)` float32, at least one element; a permuted sample gives permuted tokens.

    Tokens are centred a channel and share one scale: coordinates keep their proportions.
    """

    config: SetConfig

    def __init__(self, config: SetConfig, example: Any) -> None:
        super().__init__(config)
        if not isinstance(example, torch.Tensor) or example.dim() != 2 or not len(example):
            raise ValueError(f"tokenizer 'set' takes tensors (elements, channels), given {describe(example)}")
        self.channels = example.shape[1]
        if any(channel not in range(self.channels) for channel in config.centred):
            raise ValueError(f"centred {list(config.centred)} names channels that samples with {self.channels} channels do not have")
        self.statistics = Statistics(self.channels)
        self.facts["sizes"] = [[len(example), 1]]

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        prior = "normal_centred" if self.config.centred else "normal"
        return (StreamSpec(name=self.config.stream, width=self.channels, order="set", prior=prior, centred=self.config.centred),)

    def fit(self, samples: Sequence[Any]) -> None:
        sizes: Counter[int] = Counter()
        for index, sample in enumerate(samples):
            self._check(sample, index)
            sizes[len(sample)] += 1
        self.facts["sizes"] = [list(pair) for pair in sorted(sizes.items())]
        self.statistics = Statistics(self.channels).to(self.statistics.mean.device)
        streams = (self.encode(chunk)[self.config.stream] for chunk in chunks(samples))
        self.statistics.measure_batches(((stream.values, stream.mask) for stream in streams), per_channel=False)
        self.statistics.mean[list(self.config.centred)] = 0

    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        for index, sample in enumerate(samples):
            self._check(sample, index)
        sizes = torch.tensor([len(sample) for sample in samples])
        values = torch.nn.utils.rnn.pad_sequence([self._centre(sample) for sample in samples], batch_first=True)
        mask = torch.arange(values.shape[1])[None] < sizes[:, None]
        values, mask = values.to(self.statistics.mean.device), mask.to(self.statistics.mean.device)
        return State.of({self.config.stream: Stream.of(self.statistics.normalise(values) * mask[..., None], mask=mask)})

    def decode(self, state: State) -> list[Any]:
        stream = state[self.config.stream]
        return [row[mask].cpu() for row, mask in zip(self.statistics.restore(stream.values), stream.mask, strict=True)]

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        """`size`: elements; else as many as drawn."""
        (asked,) = asked_sizes(size, ())
        sizes = draw_size(self.facts["sizes"], seeds) if asked is None else [asked] * len(seeds)
        return empty_set(self.config.stream, sizes, self.channels, seeds)

    def _check(self, sample: Any, index: int) -> None:
        if not is_clean(sample, 2, self.channels):
            raise ValueError(
                f"sample {index}: expected finite float32 numbers (elements, {self.channels} channels), given {describe(sample)}"
            )

    def _centre(self, sample: Tensor) -> Tensor:
        if not self.config.centred:
            return sample
        mean = sample.new_zeros(self.channels)
        mean[list(self.config.centred)] = sample.mean(0)[list(self.config.centred)]
        return sample - mean
