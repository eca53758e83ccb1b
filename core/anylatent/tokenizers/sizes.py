"""How large new samples are asked to be."""

from collections.abc import Sequence
from typing import Any

from anylatent.spec import AxisSpec

Size = int | Sequence[int | None] | None
"""A number an axis of `Tokenizer.size_axes` (of elements, where there is none), the first axes first; what is None or left out is
as training saw it. One number is of the first axis alone."""


def asked_sizes(size: Size, axes: Sequence[AxisSpec], multiples: Sequence[int] = ()) -> tuple[int | None, ...]:
    """A number an axis (one, where there is no axis), each a multiple of that axis's; None where nothing is asked.

    Errors: `ValueError` for too many numbers, or one that cannot be.
    """
    given = _numbers(size)
    names = [f"of axis '{axis.name}'" for axis in axes] or ["of elements"]
    if len(given) > len(names):
        raise ValueError(f"size {told(size)}: expected at most {len(names)}, {', then '.join(names)}")
    for value, name, multiple in zip(given, names, multiples or [1] * len(names), strict=False):
        if value is not None and (type(value) is not int or value < 1 or value % multiple):
            least = "1 or more" if multiple == 1 else f"a multiple of {multiple}"
            raise ValueError(f"size {told(size)}: expected a number {name}, {least}, given {value!r}")
    return (*given, *[None] * (len(names) - len(given)))


def told(size: Size) -> str:
    """As it is written on the command line: 24x64; an axis of which nothing is asked is '_'."""
    return "x".join("_" if value is None else str(value) for value in _numbers(size))


def _numbers(size: Any) -> tuple[Any, ...]:
    return tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else (size,)
