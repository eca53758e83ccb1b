"""A state of several parts' streams."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import torch
from torch import nn

from anylatent.joint.tokenizers import JointConfig
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.sizes import Size, asked_sizes
from anylatent.types import Float, Tensor

_NEARLY = 1e-6
"""Share of a step by which a length may be longer than whole steps: rounding."""


class JointTokenizer(Tokenizer):
    """Each part's tokenizer on its own streams. A part with one stream names it; one of several names `part-stream`."""

    config: JointConfig

    def __init__(self, config: JointConfig, parts: Mapping[str, Tokenizer]) -> None:
        super().__init__(config)
        self.parts = nn.ModuleDict(dict(parts))
        self.facts = self._facts()

    @property
    def named(self) -> Mapping[str, Tokenizer]:
        return self.parts  # pyright: ignore[reportReturnType]

    def _names(self, part: str) -> dict[str, str]:
        """A part's own names of its streams, and theirs here."""
        own = [spec.name for spec in self.named[part].specs]
        return {name: part if len(own) == 1 else f"{part}-{name}" for name in own}

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        return tuple(
            spec.model_copy(update={"name": self._names(part)[spec.name]})
            for part, tokenizer in self.named.items()
            for spec in tokenizer.specs
        )

    def _facts(self) -> dict[str, Any]:
        return {part: tokenizer.facts for part, tokenizer in self.named.items()}

    def _of(self, samples: Sequence[Any], part: str) -> Sequence[Any]:
        return _Part(samples, part)

    @property
    def trainable(self) -> bool:
        return any(tokenizer.trainable for tokenizer in self.named.values())

    def prepare(self, samples: Sequence[Any]) -> None:
        for part, tokenizer in self.named.items():
            tokenizer.prepare(self._of(samples, part))
        self.facts = self._facts()

    def loss(self, samples: Sequence[Any], seeds: Tensor) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        """The sum of the parts' losses."""
        total, told = torch.zeros(len(samples), device=seeds.device), {}
        for part, tokenizer in self.named.items():
            if tokenizer.trainable:
                loss, numbers = tokenizer.loss(self._of(samples, part), seeds)
                total = total + loss
                told |= {f"{part}/{name}": number for name, number in numbers.items()}
        return total, told

    def fit(self, samples: Sequence[Any]) -> None:
        for part, tokenizer in self.named.items():
            tokenizer.fit(self._of(samples, part))
        self.facts = self._facts()

    def restore(self, facts: Mapping[str, Any]) -> None:
        for part, tokenizer in self.named.items():
            tokenizer.restore(facts[part])
        self.facts = self._facts()

    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        """A part that is None is laid out to be made (by the sample's seed, or its index)."""
        for index, sample in enumerate(samples):
            if not isinstance(sample, Mapping) or set(sample) - set(self.named):
                given = sorted(sample) if isinstance(sample, Mapping) else type(sample).__name__
                raise ValueError(f"sample {index}: expected a mapping with the parts {list(self.named)}, given {given}")
        rows = torch.arange(len(samples)) if seeds is None else seeds

        def encoded(part: str, tokenizer: Tokenizer) -> State:
            there = [sample.get(part) for sample in samples]
            if all(sample is not None for sample in there):
                return self._blamed(part, lambda: tokenizer.encode(there, seeds))
            each = []
            for index, sample in enumerate(there):
                one = rows[index : index + 1]
                each.append(tokenizer.layout(one) if sample is None else tokenizer.encode([sample], None if seeds is None else one))
            return State.cat(each)

        return self._joined(encoded, rows)

    @property
    def size_axes(self) -> tuple[AxisSpec, ...]:
        return next(iter(self.named.values())).size_axes

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        """The parts' layouts. `size` is the first part's; parts that share an axis with it reach as far along it."""
        first, *_ = self.named
        asked = asked_sizes(size, self.size_axes)
        reach = {(axis.name, axis.unit): count * axis.step for axis, count in zip(self.size_axes, asked) if count is not None}

        def own(part: str, tokenizer: Tokenizer) -> State:
            lengths = [reach.get((axis.name, axis.unit)) for axis in tokenizer.size_axes]
            sizes = [None if length is None else ceil(length / axis.step - _NEARLY) for length, axis in zip(lengths, tokenizer.size_axes)]
            return self._blamed(part, lambda: tokenizer.layout(seeds, conditions, size if part == first else sizes))

        return self._joined(own, seeds)

    def decode(self, state: State) -> list[Any]:
        """A mapping a row; a part whose tokens are absent (time 1) is None."""
        columns: dict[str, list[Any]] = {}
        for part, tokenizer in self.named.items():
            streams = {own: state[name] for own, name in self._names(part).items()}
            absent = torch.stack([((stream.time == 1) | ~stream.mask).all(1) for stream in streams.values()]).all(0)
            own = replace(state, streams={name: replace(stream, time=torch.zeros_like(stream.time)) for name, stream in streams.items()})
            made = iter(tokenizer.decode(own.select(~absent)) if not absent.all() else [])
            columns[part] = [None if gone else next(made) for gone in absent.tolist()]
        return [{part: column[row] for part, column in columns.items()} for row in range(len(state))]

    def _joined(self, states: Callable[[str, Tokenizer], State], seeds: Tensor) -> State:
        streams = {}
        for part, tokenizer in self.named.items():
            made = states(part, tokenizer)
            streams |= {name: made[own] for own, name in self._names(part).items()}
        return State.of(streams, seeds)

    def _blamed(self, part: str, make: Callable[[], State]) -> State:
        try:
            return make()
        except ValueError as error:
            raise ValueError(f"part '{part}': {error}") from error


class _Part(Sequence):
    """One part of each sample, read when it is asked for."""

    def __init__(self, samples: Sequence[Any], part: str) -> None:
        self.samples, self.part = samples, part

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [sample[self.part] for sample in self.samples[index]]
        return self.samples[index][self.part]
