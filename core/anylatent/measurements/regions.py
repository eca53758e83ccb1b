"""Parts of a stream, by coordinates: what `select` measures and `masked-completion` keeps or makes."""

from collections.abc import Mapping, Sequence

from anylatent.lazy import torch
from anylatent.measurements.base import Layout
from anylatent.spec import StreamSpec
from anylatent.types import Bool, Tensor

Fractions = tuple[float, float]
"""From and to, as fractions of a sample's extent."""


def check_intervals(intervals: Mapping[str, Fractions]) -> None:
    """Errors: `ValueError` if one does not increase within 0 and 1."""
    for name, (low, high) in intervals.items():
        if not 0 <= low < high <= 1:
            raise ValueError(f"interval [{low}, {high}] of '{name}' must increase within 0 and 1")


def unknown_axes(specs: Sequence[StreamSpec], named: Mapping[str, object]) -> str | None:
    """What to say of axes that no stream has, or None."""
    known = {axis.name for spec in specs for axis in spec.axes}
    missing = sorted(set(named) - known)
    return f"there is no axis {missing}: the tokens have {sorted(known) or 'none, use `tokens`'}" if missing else None


def inside(layout: Layout, intervals: Mapping[str, Fractions], tokens: Fractions) -> Bool[Tensor, "rows tokens"]:
    """The tokens inside of all intervals, as fractions of the row's extent; of a stream without axes a share of its elements."""
    if not layout.spec.axes:
        place = (layout.mask.cumsum(1) - 0.5) / layout.mask.sum(1, keepdim=True)
        return (place >= tokens[0]) & (place <= tokens[1])
    found = layout.mask.clone()
    for index, axis in enumerate(layout.spec.axes):
        low, high = intervals.get(axis.name, (0.0, 1.0))
        place = layout.positions[..., index]
        first = place.masked_fill(~layout.mask, torch.inf).amin(1, keepdim=True)
        last = place.masked_fill(~layout.mask, -torch.inf).amax(1, keepdim=True)
        fraction = (place - first) / (last - first).clamp(min=1e-6)
        found &= (fraction >= low) & (fraction <= high)
    return found
