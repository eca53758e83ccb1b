"""Clouds to tokens without learning anything."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.arrays import chunks
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.set import SetConfig
from anylatent.tokenizers.set_tokenizer import SetTokenizer
from anylatent.tokenizers.sizes import Size, asked_sizes, told
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Bool, Float, Int, Tensor
from anylatent_points.cloud import Cloud, check_points, made
from anylatent_points.tokens import LeavesConfig, PointSetConfig

AXES = "zyx"
"""The axes along which a cloud is halved, in turn."""
_SHEAR = torch.tensor([[0.0131, 0.0043, 1.0], [0.0067, 1.0, 0.0029], [1.0, 0.0053, 0.0113]])
"""Rows: along what z, y and x are compared. Slightly oblique, so that points of equal height are told apart by their places."""


def require(samples: Sequence[Any], kind: str, count: int | None = None, first: int = 0) -> None:
    """Errors: `ValueError` names the first sample that is no cloud (of `count` points); they are counted from `first`."""
    for index, sample in enumerate(samples, first):
        wrong = check_points(sample)
        if not wrong and count not in (None, len(sample)):
            wrong = f"a Cloud of {len(sample)}"
        if wrong:
            many = "points (n, 3)" if count is None else f"{count} points"
            raise ValueError(f"sample {index}: {kind} takes a Cloud of finite float32 {many}, given {wrong}")


class PointSet(Tokenizer):
    """A token a point, with its coordinates as channels, in one scale; a permuted cloud gives permuted tokens."""

    config: PointSetConfig

    def __init__(self, config: PointSetConfig, example: Any) -> None:
        super().__init__(config)
        require([example], config.kind)
        self.inner = SetTokenizer(SetConfig(stream="points"), example.points)
        self.facts = self.inner.facts

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        return self.inner.specs

    def fit(self, samples: Sequence[Any]) -> None:
        require([samples[i] for i in range(len(samples))], self.config.kind)
        self.inner.fit([samples[i].points for i in range(len(samples))])
        self.facts = self.inner.facts

    def restore(self, facts: Mapping[str, Any]) -> None:
        super().restore(facts)
        self.inner.restore(facts)

    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        require(samples, self.config.kind)
        return self.inner.encode([sample.points for sample in samples])

    def decode(self, state: State) -> list[Cloud]:
        return [made(points) for points in self.inner.decode(state)]

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        return self.inner.layout(seeds, conditions, size)

    def whole_tokens(self, cloud: Cloud, chosen: Bool[Tensor, " points"]) -> Bool[Tensor, " tokens"]:
        """The tokens that hold chosen points alone."""
        return chosen


class Leaves(Tokenizer):
    """A token a leaf of the k-d tree, at its place in the tree (in cells along x, y, z).

    A leaf's channels are its mean and the differences of its halves, halves of halves …, an orthonormal (Haar) basis: each is
    normalised by `fit`, differences then times `detail`.
    """

    config: LeavesConfig

    def __init__(self, config: LeavesConfig, example: Any) -> None:
        super().__init__(config)
        require([example], config.kind)
        count, self.patch = len(example), config.patch
        leaves = count // self.patch
        if count % self.patch or not leaves or leaves & (leaves - 1):
            raise ValueError(
                f"{config.kind} halves a cloud down to patches of {self.patch} points: the number of points must be {self.patch} times "
                f"a power of two, given {count}; choose another `patch`, or other `points` of the data set"
            )
        self.size, self.leaves = count, leaves
        self.statistics = Statistics(3 * self.patch)
        self.register_buffer("basis", _haar(self.patch), persistent=False)
        loudness = torch.cat((torch.ones(3), torch.full((3 * self.patch - 3,), config.detail)))
        self.register_buffer("loudness", loudness, persistent=False)

    basis: Tensor
    loudness: Tensor

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        axes = tuple(AxisSpec(name=name, unit="cell") for name in "xyz")
        return (StreamSpec(name="leaves", width=3 * self.patch, axes=axes, order="grid"),)

    def fit(self, samples: Sequence[Any]) -> None:
        self.statistics = Statistics(3 * self.patch).to(self.statistics.mean.device)
        values = (self._values(chunk) for chunk in chunks(samples))
        self.statistics.measure_batches((x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)) for x in values)

    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        values = self.statistics.normalise(self._values(samples)) * self.loudness
        return State.of({"leaves": Stream.of(values, self._positions(len(samples)))})

    def _values(self, samples: Sequence[Any]) -> Float[Tensor, "rows leaves numbers"]:
        """Means and differences of each leaf, in the cloud's own frame."""
        require(samples, self.config.kind, self.size)
        points = in_tree_order(torch.stack([sample.points for sample in samples]))
        patches = points.unflatten(1, (self.leaves, self.patch)).to(self.statistics.mean.device)
        return torch.einsum("kp,blpc->blkc", self.basis, patches).flatten(2)

    def decode(self, state: State) -> list[Cloud]:
        values = self.statistics.restore(state["leaves"].values[:, : self.leaves] / self.loudness)  # the rest is padding
        patches = torch.einsum("kp,blkc->blpc", self.basis, values.unflatten(2, (self.patch, 3)))
        return [made(points) for points in patches.flatten(1, 2)]

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        if asked_sizes(size, ()) not in ((None,), (self.leaves,)):
            raise ValueError(f"size {told(size)}: {self.config.kind} makes {self.leaves} tokens a cloud, of no other size")
        values = torch.zeros(len(seeds), self.leaves, 3 * self.patch, device=seeds.device)
        return State.of({"leaves": Stream.of(values, self._positions(len(seeds)).to(seeds.device))}, seeds)

    def whole_tokens(self, cloud: Cloud, chosen: Bool[Tensor, " points"]) -> Bool[Tensor, " leaves"]:
        """The tokens that hold chosen points alone."""
        order = tree_order(cloud.points[None])[0]
        return chosen[order].unflatten(0, (self.leaves, self.patch)).all(1)

    def _positions(self, rows: int) -> Float[Tensor, "rows leaves 3"]:
        """The cell of each leaf along x, y, z: the bits of its number, dealt to the axes in turn."""
        levels = self.leaves.bit_length() - 1
        numbers, places = torch.arange(self.leaves), torch.zeros(self.leaves, 3)
        for level in range(levels):
            axis = "xyz".index(AXES[level % 3])
            places[:, axis] = 2 * places[:, axis] + (numbers >> (levels - 1 - level) & 1)
        return places.to(self.statistics.mean.device).expand(rows, -1, -1)


def tree_order(points: Float[Tensor, "rows n 3"]) -> Int[Tensor, "rows n"]:
    """Indices of the points in the order of a balanced k-d tree's leaves: halved along z, y, x in turn, down to single points."""
    rows, count, _ = points.shape
    size, level = count, 0
    found = torch.arange(count, device=points.device).expand(rows, -1)
    while size % 2 == 0:
        groups = points.gather(1, found[..., None].expand(-1, -1, 3)).reshape(rows, count // size, size, 3)
        order = (groups * _SHEAR[level % 3].to(points.device)).sum(-1).argsort(dim=2, stable=True)
        found = found.reshape(rows, count // size, size).gather(2, order).reshape(rows, count)
        size, level = size // 2, level + 1
    return found


def in_tree_order(points: Float[Tensor, "rows n 3"]) -> Float[Tensor, "rows n 3"]:
    """The points in that order."""
    return points.gather(1, tree_order(points)[..., None].expand(-1, -1, 3))


def _haar(size: int) -> Float[Tensor, "size size"]:
    """Orthonormal rows: the mean, then differences of halves from coarse to fine (Haar 1910); `size` is a power of two."""
    if size == 1:
        return torch.ones(1, 1)
    half = _haar(size // 2)
    top = torch.cat((half, half), 1) / 2**0.5
    fine = torch.cat((half, -half), 1) / 2**0.5
    return torch.cat((top, fine))
