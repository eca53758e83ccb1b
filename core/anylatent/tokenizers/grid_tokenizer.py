"""Cuts arrays into patches and puts them together again."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch

from anylatent import random
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.arrays import chunks, describe, is_clean
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.grid import GridConfig
from anylatent.tokenizers.sizes import Size, asked_sizes
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Float, Tensor


class GridTokenizer(Tokenizer):
    """Samples `(*axes, channels)` float32, of any sizes divisible by the patch; one token a patch.

    Tokens are centred a channel and share one scale, so that cells which never change stay quiet instead of being blown
    up to unit variance.
    """

    config: GridConfig

    def __init__(self, config: GridConfig, example: Any, axes: tuple[AxisSpec, ...]) -> None:
        super().__init__(config)
        if not isinstance(example, torch.Tensor) or example.dim() != len(axes) + 1 or not axes:
            raise ValueError(
                f"tokenizer 'grid' cuts arrays (*axes, channels) with {len(axes)} axes; given {describe(example)}"
                + ("" if axes else ": the modality declares no axes, use 'set'")
            )
        if len(config.patch) != len(axes):
            names = ", ".join(axis.name for axis in axes)
            raise ValueError(f"patch {list(config.patch)} has {len(config.patch)} numbers, the samples have {len(axes)} axes ({names})")
        self.axes = axes
        self.channels = example.shape[-1]
        self.statistics = Statistics(self.channels * prod(config.patch))
        self._check(example, 0)
        self.facts["shapes"] = [[list(example.shape[:-1]), 1]]

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        axes = tuple(axis.model_copy(update={"step": axis.step * size}) for axis, size in zip(self.axes, self.config.patch, strict=True))
        return (StreamSpec(name=self.config.stream, width=self.channels * prod(self.config.patch), axes=axes, order="grid"),)

    def fit(self, samples: Sequence[Any]) -> None:
        """Sizes, and the mean and scale of the tokens."""
        shapes: Counter[tuple[int, ...]] = Counter()
        for index, sample in enumerate(samples):
            self._check(sample, index)
            shapes[tuple(sample.shape[:-1])] += 1
        self.facts["shapes"] = [[list(shape), count] for shape, count in sorted(shapes.items())]
        self.statistics = Statistics(self.specs[0].width).to(self.statistics.mean.device)
        streams = (self.encode(chunk)[self.config.stream] for chunk in chunks(samples))
        self.statistics.measure_batches(((stream.values, stream.mask) for stream in streams), per_channel=False)

    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        for index, sample in enumerate(samples):
            self._check(sample, index)
        shapes = [tuple(sample.shape[:-1]) for sample in samples]
        if len(set(shapes)) == 1:
            device = self.statistics.mean.device
            values = self._cut(torch.stack(list(samples)).to(device))
            positions = self._positions(shapes[0]).to(device).expand(len(samples), -1, -1)
            return State.of({self.config.stream: Stream.of(self.statistics.normalise(values), positions)})
        return State.cat([self.encode([sample]) for sample in samples])

    def decode(self, state: State) -> list[Any]:
        stream = state[self.config.stream]
        values = self.statistics.restore(stream.values)
        samples = []
        for row in range(len(state)):
            mask = stream.mask[row]
            shape = self._shape(stream.positions[row][mask])
            samples.append(self._join(values[row][mask], shape).cpu())
        return samples

    @property
    def size_axes(self) -> tuple[AxisSpec, ...]:
        return self.axes

    @property
    def local_axes(self) -> tuple[AxisSpec, ...]:
        return self.size_axes

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        """Sizes drawn as training saw them. `size`: cells of each axis, a multiple of the patch's."""
        asked = asked_sizes(size, self.axes, self.config.patch)
        shapes, counts = zip(*self.facts["shapes"], strict=True)
        edges = torch.tensor(counts, dtype=torch.float32).cumsum(0) / sum(counts)
        drawn = torch.searchsorted(edges, random.uniform(seeds.cpu(), "layout", 0, 0, 1)[:, 0]).clamp(max=len(shapes) - 1)
        rows = []
        for choice in drawn.tolist():
            shape = tuple(own if cells is None else cells for own, cells in zip(shapes[choice], asked, strict=True))
            positions = self._positions(shape)[None]
            rows.append(State.of({self.config.stream: Stream.of(torch.zeros(1, positions.shape[1], self.specs[0].width), positions)}))
        state = State.cat(rows)
        return State.of(state.streams, seeds)

    def _check(self, sample: Any, index: int) -> None:
        good = is_clean(sample, len(self.axes) + 1, self.channels)
        if not good or any(size % cells for size, cells in zip(sample.shape, self.config.patch, strict=False)):
            names = ", ".join(f"{axis.name} (a multiple of {cells})" for axis, cells in zip(self.axes, self.config.patch, strict=True))
            raise ValueError(
                f"sample {index}: expected finite float32 numbers ({names}, {self.channels} channels), given {describe(sample)}"
            )

    def _cut(self, batch: Float[Tensor, "rows *cells channels"]) -> Float[Tensor, "rows tokens width"]:
        # (B, y p, x q, C) -> (B, y, x, p, q, C) -> (B, y x, p q C)
        for axis, cells in enumerate(self.config.patch):
            batch = batch.unflatten(1 + 2 * axis, (-1, cells))
        n = len(self.config.patch)
        batch = batch.permute(0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1)
        return batch.flatten(n + 1).flatten(1, n)

    def _join(self, tokens: Float[Tensor, "tokens width"], shape: tuple[int, ...]) -> Float[Tensor, "*cells channels"]:
        patch, n = self.config.patch, len(shape)
        whole = tokens.reshape(*(size // cells for size, cells in zip(shape, patch, strict=True)), *patch, self.channels)
        whole = whole.permute(*(axis for pair in zip(range(n), range(n, 2 * n), strict=True) for axis in pair), 2 * n)
        return whole.reshape(*shape, self.channels)

    def _positions(self, shape: tuple[int, ...]) -> Float[Tensor, "tokens axes"]:
        """Centres of the patches, in the axes' units, last axis fastest."""
        ticks = [
            axis.step * (torch.arange(size // cells) * cells + (cells - 1) / 2)
            for axis, size, cells in zip(self.axes, shape, self.config.patch, strict=True)
        ]
        return torch.cartesian_prod(*ticks).reshape(-1, len(ticks))

    def _shape(self, positions: Float[Tensor, "tokens axes"]) -> tuple[int, ...]:
        last = positions.amax(0) / torch.tensor([axis.step for axis in self.axes], device=positions.device)
        return tuple(round(x - (cells - 1) / 2) + cells for x, cells in zip(last.tolist(), self.config.patch, strict=True))
