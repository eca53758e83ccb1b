"""What samples that are arrays must be, and how one that is not is described."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

CHUNK = 256
"""Samples that are fitted at once: a data set is never held as one tensor."""


def is_clean(sample: Any, dimensions: int, channels: int) -> bool:
    """Whether it is a float32 tensor `(…, channels)` of finite numbers, not empty."""
    return (
        isinstance(sample, torch.Tensor)
        and sample.dtype == torch.float32
        and sample.dim() == dimensions
        and sample.shape[-1] == channels
        and sample.numel() > 0
        and bool(sample.isfinite().all())
    )


def describe(sample: Any) -> str:
    """Type and shape, and what may be wrong with the numbers, in words."""
    if not isinstance(sample, torch.Tensor):
        return f"a {type(sample).__name__}"
    text = f"{str(sample.dtype).removeprefix('torch.')} of shape {tuple(sample.shape)}"
    bad = int((~sample.isfinite()).sum())
    return f"{text}, {bad} of its numbers not finite" if bad else text


def chunks(samples: Sequence[Any]) -> Iterator[list[Any]]:
    """The samples, some at a time."""
    for start in range(0, len(samples), CHUNK):
        yield list(samples[start : start + CHUNK])


def alike(sizes: Sequence[tuple[int, ...]], most: int) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Each size and the rows that have it, `most` at a time: the smallest size first, rows in order."""
    for size in sorted(set(sizes)):
        rows = [row for row, other in enumerate(sizes) if other == size]
        yield from ((size, rows[first : first + most]) for first in range(0, len(rows), most))
