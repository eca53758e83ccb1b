"""Distances between clouds, and between all clouds of two sets."""

from collections.abc import Callable, Sequence
from typing import Literal

from anylatent.lazy import torch
from anylatent.types import Float, Tensor

Distance = Literal["chamfer", "earth-mover"]

_AT_ONCE = 64
"""Pairs of clouds that are compared together: bounds the memory."""


def chamfer(a: Float[Tensor, "pairs n 3"], b: Float[Tensor, "pairs m 3"]) -> Float[Tensor, " pairs"]:
    """Mean squared distance to the nearest, there and back (Yang et al. 2019, 1906.12320, eq. 16, with means for the sums)."""
    squared = a.square().sum(-1)[:, :, None] + b.square().sum(-1)[:, None] - 2 * a @ b.transpose(1, 2)
    squared = squared.clamp(min=0)
    return squared.amin(2).mean(1) + squared.amin(1).mean(1)


def earth_mover(a: Float[Tensor, "pairs n 3"], b: Float[Tensor, "pairs n 3"]) -> Float[Tensor, " pairs"]:
    """Mean distance under the best assignment of points to points (Yang et al. 2019, 1906.12320, eq. 17), exact."""
    from scipy.optimize import linear_sum_assignment

    found = []
    for x, y in zip(a.double(), b.double(), strict=True):
        costs = torch.cdist(x, y).numpy()
        found.append(costs[linear_sum_assignment(costs)].mean())
    return torch.tensor(found, dtype=torch.float32)


PAIRWISE: dict[Distance, Callable[[Tensor, Tensor], Tensor]] = {"chamfer": chamfer, "earth-mover": earth_mover}


def between(a: Float[Tensor, "n points 3"], b: Float[Tensor, "m points 3"], distance: Distance) -> Float[Tensor, "n m"]:
    """The distance of each cloud of `a` to each of `b`."""
    pairs = torch.cartesian_prod(torch.arange(len(a)), torch.arange(len(b)))
    return _of_pairs(a, b, pairs, distance).reshape(len(a), len(b))


def among(a: Float[Tensor, "n points 3"], distance: Distance) -> Float[Tensor, "n n"]:
    """The distance of each cloud to each other of the same set: each pair is computed once; infinite to itself."""
    pairs = torch.combinations(torch.arange(len(a)), 2).reshape(-1, 2)
    found = torch.full((len(a), len(a)), torch.inf)
    found[pairs[:, 0], pairs[:, 1]] = found[pairs[:, 1], pairs[:, 0]] = _of_pairs(a, a, pairs, distance)
    return found


def _of_pairs(a: Tensor, b: Tensor, pairs: Tensor, distance: Distance) -> Float[Tensor, " pairs"]:
    measure = PAIRWISE[distance]
    parts = [measure(a[part[:, 0]], b[part[:, 1]]) for part in pairs.split(_AT_ONCE)]
    return torch.cat(parts) if parts else torch.zeros(0)


def thinned(clouds: Sequence[Float[Tensor, "n 3"]], count: int) -> Float[Tensor, "clouds count 3"]:
    """Each cloud with `count` points, by farthest points from the one farthest from its middle.

    Errors: `ValueError` names the first cloud with fewer, or with numbers that are not finite.
    """
    from anylatent_points.surface import farthest

    found = []
    for index, points in enumerate(clouds):
        if len(points) < count:
            raise ValueError(f"cloud {index} has {len(points)} points, {count} are to be compared: ask for fewer `points`")
        if not bool(points.isfinite().all()):
            raise ValueError(f"cloud {index} has points that are not finite numbers")
        if len(points) == count:
            found.append(points)
            continue
        first = (points - points.mean(0)).square().sum(-1).argmax()
        ordered = torch.cat((points[first][None], points[:first], points[first + 1 :]))
        found.append(ordered[farthest(ordered[None], count)[0]])
    return torch.stack(found)
