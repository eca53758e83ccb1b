"""Core's conditioners: classes, numbers, sequences."""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import nn

from anylatent.condition import TokenSet
from anylatent.conditioners.base import Conditioner
from anylatent.conditioners.standard import ClassConfig, NumberConfig, SequenceConfig
from anylatent.nn.layers import Embedding, Linear, sinusoid
from anylatent.nn.transformer import Transformer
from anylatent.types import Float, Tensor


def _placed(conditioner: Conditioner, vectors: Float[Tensor, "rows width"]) -> Tensor | TokenSet:
    """A vector a row as the slot wants it: itself, or one token."""
    if conditioner.config.slot == "global":
        return vectors
    return TokenSet(vectors[:, None], torch.ones(len(vectors), 1, dtype=torch.bool, device=vectors.device))


class ClassConditioner(Conditioner):
    """A learned vector a class, and one more for the null."""

    def __init__(self, config: ClassConfig, width: int, values: Sequence[Any]) -> None:
        super().__init__(config)
        known = {value for value in values if value is not None}
        if not known:
            raise ValueError("a class condition needs a training set with classes, given none")
        names = sorted(known, key=lambda value: (isinstance(value, str), value))
        self.examples = names
        self.table = nn.Embedding(len(names) + 1, width)
        nn.init.normal_(self.table.weight, std=0.5)

    def forward(self, raw: Sequence[Any | None]) -> Tensor | TokenSet:
        names = self.examples
        index = {name: i for i, name in enumerate(names)} | {None: len(names)}
        for value in raw:
            if not isinstance(value, Hashable) or value not in index:
                raise ValueError(f"there is no class {value!r}; the training set has {', '.join(map(str, names[:40]))}")
        return _placed(self, self.table(torch.tensor([index[value] for value in raw], device=self.table.weight.device)))


class NumberConditioner(Conditioner):
    """Fourier features of each standardised number, and a learned vector for the null."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: NumberConfig, width: int, values: Sequence[Any]) -> None:
        super().__init__(config)
        self.count = config.count
        self.examples = [value for value in values if value is not None][:1]
        known = torch.tensor([self._numbers(value) for value in values if value is not None], dtype=torch.float32).reshape(-1, self.count)
        if not len(known):
            raise ValueError("a number condition needs a training set with numbers, given none")
        std = known.std(0, unbiased=False)
        self.register_buffer("mean", known.mean(0))
        self.register_buffer("std", torch.where(std > 0, std, torch.ones_like(std)))
        self.embeddings = nn.ModuleList(Embedding(width) for _ in range(self.count))
        self.null = nn.Parameter(torch.zeros(width))

    def _numbers(self, value: Any) -> list[float]:
        numbers = list(value) if isinstance(value, list | tuple) else [value]
        if len(numbers) != self.count or not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers):
            raise ValueError(f"expected {self.count} finite number{'s' * (self.count > 1)}, given {value!r}")
        return [float(x) for x in numbers]

    def forward(self, raw: Sequence[Any | None]) -> Tensor | TokenSet:
        asked = torch.tensor([value is not None for value in raw], device=self.mean.device)
        numbers = torch.tensor([[0.0] * self.count if value is None else self._numbers(value) for value in raw], device=self.mean.device)
        # Divided by 8: the features' slowest wave then covers four standard deviations on either side.
        scaled = (numbers - self.mean) / (8 * self.std)
        vectors = torch.stack([embedding(scaled[:, i]) for i, embedding in enumerate(self.embeddings)]).sum(0)
        return _placed(self, torch.where(asked[:, None], vectors, self.null))


class SequenceConditioner(Conditioner):
    """The bytes of a text (or whole numbers 0 to 255) through a small transformer; an empty one is a learned null token."""

    positions: Tensor

    def __init__(self, config: SequenceConfig, width: int, values: Sequence[Any]) -> None:
        super().__init__(config)
        if config.slot == "global":
            raise ValueError("a sequence is tokens: choose slot 'cross' or 'prepend'")
        if width % config.heads:
            raise ValueError(f"width {width} of the denoiser cannot be shared by the {config.heads} heads of a sequence condition")
        self.length = config.length
        self.table = nn.Embedding(256, width)
        self.null = nn.Parameter(0.02 * torch.randn(width))
        self.register_buffer("positions", sinusoid(config.length, width), persistent=False)
        self.body = Transformer(width, config.heads, config.depth)
        self.out = Linear(width, width, "embed")

    def _symbols(self, value: Any) -> list[int]:
        if value is None:
            return []
        symbols = list(value.encode()) if isinstance(value, str) else value
        if not isinstance(symbols, list | tuple) or not all(isinstance(x, int) and 0 <= x < 256 for x in symbols):
            raise ValueError(f"expected a text or whole numbers from 0 to 255, given {value!r}")
        return list(symbols[: self.length])

    def forward(self, raw: Sequence[Any | None]) -> TokenSet:
        device = self.null.device
        rows = [torch.tensor(self._symbols(value), dtype=torch.long, device=device) for value in raw]
        sizes = torch.tensor([len(row) for row in rows], device=device)
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        if not ids.shape[1]:
            ids = ids.new_zeros(len(rows), 1)
        mask = torch.arange(ids.shape[1], device=device)[None] < sizes[:, None].clamp(min=1)
        x = self.table(ids) + self.positions[: ids.shape[1]]
        x = self.out(self.body(x, x.new_zeros(*ids.shape, 0), mask))
        return TokenSet(torch.where((sizes == 0)[:, None, None], self.null, x), mask)
