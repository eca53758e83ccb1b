"""Clouds to blocks of occupied cells, and back."""

from collections.abc import Mapping, Sequence
from math import ceil, lcm, prod
from typing import Any

import torch

from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.grid import GridConfig
from anylatent.tokenizers.grid_tokenizer import GridTokenizer
from anylatent.tokenizers.sizes import Size, asked_sizes
from anylatent.types import Float, Tensor
from anylatent_points.cloud import Cloud, made
from anylatent_points.token_tokenizers import require
from anylatent_points.voxels import VoxelsConfig

Shape = tuple[int, ...]
"""Cells along x, y, z."""

_AXES = tuple(AxisSpec(name=name, unit="cell") for name in "xyz")
_BEYOND = 0.05
"""Cells by which a point may be outside and count as in the outermost: training clouds do not quite reach their box's walls."""
_MARGIN = 0.1
"""How far from a cell's walls points are put, in cells: more than `_BEYOND`, so that they come back to it."""
_MOST = 2**24
"""Cells of a sample at most: a point far astray is refused before it takes all memory."""
_PLASTIC = 1.2207440846057596
"""The root of x⁴ = x + 1: its powers spread points evenly in a cube (Roberts 2018, "quasirandom sequences", R3)."""


class Voxels(Tokenizer):
    """Cells are 1 where there is a point, -1 where there is none; core's `grid` cuts them into tokens.

    The grid is centred on 0. It is as large as the box of all training clouds; for a cloud that reaches farther, larger by
    whole tokens on both sides, so that tokens are cut where training's are. Tokens are centred a channel and share one scale.
    """

    config: VoxelsConfig

    def __init__(self, config: VoxelsConfig, example: Any) -> None:
        super().__init__(config)
        self._measure([example])

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        return self.inner.specs

    @property
    def size_axes(self) -> tuple[AxisSpec, ...]:
        return _AXES

    @property
    def multiple(self) -> int:
        """A number of cells that can be asked for is one of these: whole tokens, as many cells on both sides of 0."""
        return lcm(self.config.patch, 2)

    def fit(self, samples: Sequence[Any]) -> None:
        """The size of cells and of the box, how many points a cloud has, and the statistics of tokens."""
        device = self.inner.statistics.mean.device
        self._measure(samples)
        self.inner.to(device)
        self.inner.fit([self._cells(samples[i], i) for i in range(len(samples))])
        self.facts["shapes"] = self.inner.facts["shapes"]

    def restore(self, facts: Mapping[str, Any]) -> None:
        super().restore(facts)
        self.inner = self._grid().to(self.inner.statistics.mean.device)
        self.inner.restore({"shapes": facts["shapes"]})

    def _measure(self, samples: Sequence[Any]) -> None:
        reach, points = torch.zeros(3), 0
        for index in range(len(samples)):  # one by one, and each once: they may be made when they are asked for
            sample = samples[index]
            require([sample], self.config.kind, first=index)
            reach, points = reach.maximum(sample.points.abs().amax(0).cpu()), points + len(sample)
        if not float(reach.max()) > 1e-9:
            raise ValueError(f"{self.config.kind} cuts space into cells: all points are in the middle of the frame")
        cell = 2 * float(reach.max()) / self.config.cells
        shape = [_across(2 * float(side) / cell, self.multiple, self.multiple) for side in reach]
        self.facts = {"cell": cell, "shape": shape, "points": round(points / len(samples)), "shapes": [[shape, 1]]}
        self.inner = self._grid()

    def _grid(self) -> GridTokenizer:
        return GridTokenizer(GridConfig(patch=(self.config.patch,) * 3, stream="voxels"), torch.zeros(*self.facts["shape"], 1), _AXES)

    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        require(samples, self.config.kind)
        return self.inner.encode([self._cells(sample, index) for index, sample in enumerate(samples)])

    def _cells(self, cloud: Cloud, index: int) -> Float[Tensor, "x y z 1"]:
        """1 in cells with a point, -1 in the others."""
        places = cloud.points.double().cpu() / self.facts["cell"]
        reach = (2 * places.abs().amax(0)).tolist()
        shape = tuple(_across(own, usual, 2 * self.config.patch) for own, usual in zip(reach, self.facts["shape"], strict=True))
        if prod(shape) > _MOST:
            raise ValueError(
                f"sample {index}: {self.config.kind} has cells of {self.facts['cell']:.3g}, and points up to "
                f"{max(reach) * self.facts['cell'] / 2:.3g} from the middle need more than {_MOST:,}: scale it like the training clouds"
            )
        inside = (places + torch.tensor(shape) / 2).floor().long().clamp(min=0).minimum(torch.tensor(shape) - 1)
        cells = torch.full(shape, -1.0)
        cells[tuple(inside.T)] = 1.0
        return cells[..., None]

    def decode(self, state: State) -> list[Cloud]:
        return [made(self._drawn(cells[..., 0])) for cells in self.inner.decode(state)]

    def _drawn(self, cells: Float[Tensor, "x y z"]) -> Float[Tensor, "points 3"]:
        """Points in the cells above 0 (in the highest, if none is): as densely as in training clouds, one in each cell at least.

        Each cell gets as many as the next, to one; where in it is a sequence that fills a cube evenly, the same for all rows.
        """
        shape = cells.shape
        occupied = (cells > 0 if bool((cells > 0).any()) else cells == cells.max()).nonzero()
        wanted = round(self.facts["points"] * cells.numel() / prod(self.facts["shape"]))
        count = max(len(occupied), wanted)
        numbers = torch.arange(count)
        which = numbers * len(occupied) // count
        steps = torch.tensor([_PLASTIC**-power for power in (1, 2, 3)], dtype=torch.float64)
        inside = _MARGIN + (1 - 2 * _MARGIN) * (0.5 + numbers[:, None] * steps).frac()
        return ((occupied[which] + inside - torch.tensor(shape) / 2) * self.facts["cell"]).float()

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        """`size`: cells along x, y and z."""
        asked = asked_sizes(size, _AXES, (self.multiple,) * 3)
        return self.inner.layout(seeds, conditions, asked)


def _across(length: float, least: int, step: int) -> int:
    """Cells along an axis for this many cells' length about 0: `least`, or as many steps more as it takes."""
    return least + max(0, ceil((length - 2 * _BEYOND - least) / step)) * step
