import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing import TokenizerCase, TokenizerContract
from anylatent.tokenizers.autoencoder import AutoencoderConfig
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.grid import GridConfig
from anylatent.tokenizers.set import SetConfig
from anylatent.tokenizers.statistics import Statistics

T, Y, X = AxisSpec(name="t", unit="s", step=0.1), AxisSpec(name="y", unit="cm", step=2.0), AxisSpec(name="x", unit="px")


def arrays(*shapes: tuple[int, ...], seed: int = 0) -> list[torch.Tensor]:
    """Random samples of these shapes, with a mean and a scale of their own."""
    generator = torch.Generator().manual_seed(seed)
    return [3 * torch.randn(*shape, generator=generator) + 2 for shape in shapes]


def shuffled(sample: torch.Tensor, order: list[int]) -> torch.Tensor:
    return sample[order]


GRIDS = {
    "one axis": TokenizerCase(
        GridConfig(patch=(4,)), arrays((8, 2), (12, 2), (8, 2), (20, 2)), axes=(T,), sizes={8: 2, 40: 10},
        bad=[torch.zeros(9, 2), torch.zeros(8, 3), torch.zeros(8), torch.zeros(8, 2).double(), torch.full((8, 2), torch.nan), "text"],
    ),
    "two axes": TokenizerCase(
        GridConfig(patch=(2, 3), stream="cells"), arrays(*[(4, 6, 1)] * 5), axes=(Y, X), sizes={4: 4, 6: 6},
        bad=[torch.zeros(4, 7, 1), torch.zeros(0, 6, 1), torch.zeros(4, 6), torch.zeros(4, 6, 1).int()],
    ),
    "three axes": TokenizerCase(
        GridConfig(patch=(1, 2, 2)), arrays((2, 4, 4, 1), (3, 4, 4, 1), (1, 6, 4, 1), (2, 2, 4, 1)), axes=(T, Y, X),
        bad=[torch.zeros(2, 4, 3, 1), None],
    ),
}  # fmt: skip

SETS = {
    "plain": TokenizerCase(
        SetConfig(), arrays((3, 2), (5, 2), (1, 2), (4, 2)), permute=shuffled, sizes={1: 1, 7: 7},
        bad=[torch.zeros(0, 2), torch.zeros(3, 3), torch.zeros(3), torch.zeros(3, 2).long(), torch.full((2, 2), torch.inf), [[1.0, 2.0]]],
    ),
    "centred": TokenizerCase(
        SetConfig(centred=(0, 2)), [sample * torch.tensor([1, 0.5, 1]) for sample in arrays((3, 3), (5, 3), (2, 3), (4, 3))],
        permute=shuffled, sizes={2: 2}, bad=[torch.zeros(2, 2)],
    ),
}  # fmt: skip

SMALL = {"width": 16, "heads": 2, "depth": 1, "latent": 3}
AUTOENCODERS = {
    "over a grid": TokenizerCase(
        AutoencoderConfig(inner=GridConfig(patch=(4,)), **SMALL), arrays((8, 2), (12, 2), (8, 2), (20, 2)), axes=(T,), sizes={8: 2},
        bad=[torch.zeros(9, 2)], round_trip=None,
    ),
    "over a set": TokenizerCase(
        AutoencoderConfig(inner=SetConfig(centred=(0,)), **SMALL), arrays((3, 2), (5, 2), (2, 2), (4, 2)), permute=shuffled, sizes={6: 6},
        bad=[torch.zeros(0, 2)], round_trip=None,
    ),
}  # fmt: skip


class TestGrid(TokenizerContract):
    @pytest.fixture(scope="class", params=GRIDS.values(), ids=GRIDS)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> TokenizerCase:
        return request.param


class TestSet(TokenizerContract):
    @pytest.fixture(scope="class", params=SETS.values(), ids=SETS)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> TokenizerCase:
        return request.param


class TestAutoencoder(TokenizerContract):
    @pytest.fixture(scope="class", params=AUTOENCODERS.values(), ids=AUTOENCODERS)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> TokenizerCase:
        return request.param
