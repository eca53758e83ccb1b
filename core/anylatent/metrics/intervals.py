"""95 % intervals: how far a number might have been off, had other samples been drawn."""

import math
from collections.abc import Callable, Iterator

from anylatent.lazy import torch
from anylatent.types import Float, Int, Tensor

Z = 1.959964
"""The 97.5 % quantile of the standard normal."""

DRAWN_AT_ONCE = 1_000_000
"""Indices held in memory: many small resamples are drawn together."""


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Of a proportion (Wilson 1927): sensible at 0, at 1 and for few samples, unlike the normal interval."""
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"a proportion needs 0 <= successes <= n and n >= 1, given {successes} of {n}")
    share, z2 = successes / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # The share itself is inside, whatever rounding says.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def resamples(n: int, rounds: int, *parts: object) -> Iterator[Int[Tensor, " n"]]:
    """Indices drawn with replacement from `range(n)`, `rounds` times; a function of `parts` alone."""
    from anylatent.random import seed_of, uniform

    at_once = max(1, DRAWN_AT_ONCE // n)
    for first in range(0, rounds, at_once):
        seeds = [seed_of("bootstrap", *parts, number) for number in range(first, min(first + at_once, rounds))]
        yield from (uniform(torch.tensor(seeds), "bootstrap", 0, 0, n).double() * n).long()


def bootstrap(statistic: Callable[..., float], sets: tuple[Tensor, ...], seed: int, rounds: int = 200) -> tuple[float, float]:
    """Of a statistic of one or more sets of samples `(n, …)`, each drawn again with replacement (Efron 1979).

    Returns how far below and above its own mean the statistic falls in 95 % of the rounds: both `>= 0`. The mean is
    taken out because a statistic that is biased at n samples is biased once more on its resamples.
    """
    draws = zip(*(resamples(len(x), rounds, seed, number) for number, x in enumerate(sets)), strict=True)
    values = torch.tensor([statistic(*(x[index] for x, index in zip(sets, draw, strict=True))) for draw in draws], dtype=torch.float64)
    low, high = _middle(values - values.mean())
    return max(0.0, -low), max(0.0, high)


def mean_interval(values: Float[Tensor, " samples"], seed: int, rounds: int = 1000) -> tuple[float, float]:
    """Of a mean, by bootstrap percentiles."""
    return _middle(torch.stack([values[index].double().mean() for index in resamples(len(values), rounds, seed)]))


def _middle(values: Float[Tensor, " rounds"]) -> tuple[float, float]:
    """What the middle 95 % of the values lie between."""
    low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return low, high
