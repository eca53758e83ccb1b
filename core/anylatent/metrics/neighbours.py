"""Nearest neighbours and k-NN manifolds, in blocks that fit in memory."""

from collections.abc import Iterator

from anylatent.lazy import torch
from anylatent.types import Bool, Float, Int, Tensor

BLOCK_NUMBERS = 8_000_000
"""Distances held at once: 64 MB in double."""


def distances(a: Float[Tensor, "n features"], b: Float[Tensor, "m features"]) -> Iterator[tuple[slice, Float[Tensor, "block m"]]]:
    """Euclidean distances of all pairs, a block of rows of `a` at a time."""
    rows = max(1, BLOCK_NUMBERS // max(1, len(b)))
    for start in range(0, len(a), rows):
        block = slice(start, min(start + rows, len(a)))
        yield block, torch.cdist(a[block], b)


def nearest(a: Float[Tensor, "n features"], b: Float[Tensor, "m features"]) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """The distance from each of `a` to its nearest in `b`, and which one it is."""
    found = torch.cat([block.argmin(1) for _, block in distances(a, b)])
    # Once more by difference: the matrix product inside cdist leaves 1e-8 where a copy's distance is 0.
    return (a - b[found]).norm(dim=1), found


def radii(points: Float[Tensor, "n features"], k: int) -> Float[Tensor, " n"]:
    """The distance from each point to its k-th nearest other point of the set."""
    if not 1 <= k < len(points):
        raise ValueError(f"the {k}-th nearest neighbour needs at least {k + 1} points, given {len(points)}")
    return torch.cat([block.topk(k + 1, largest=False).values[:, k] for _, block in distances(points, points)])


def inside(
    points: Float[Tensor, "n features"], centres: Float[Tensor, "m features"], radius: Float[Tensor, " m"]
) -> tuple[Int[Tensor, " n"], Bool[Tensor, " m"]]:
    """How many balls around `centres` hold each point, and which balls hold a point at all."""
    counts, held = [], torch.zeros(len(centres), dtype=torch.bool)
    for _, block in distances(points, centres):
        within = block <= radius
        counts.append(within.sum(1))
        held |= within.any(0)
    return torch.cat(counts), held
