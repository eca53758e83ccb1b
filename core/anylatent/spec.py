"""What the engine may know of a modality: the specification of its token streams."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from anylatent.node import Spec


class AxisSpec(Spec):
    """One axis of token positions: a coordinate `name` in `unit`, with `step` the usual distance of two neighbours."""

    name: str
    unit: str
    step: float = 1.0


Axes = tuple[AxisSpec, ...] | Mapping[str, Any]
"""The axes of a dense sample; of a sample of several parts, those of each part by name."""


class StreamSpec(Spec):
    """One kind of token.

    `width` is the number of channels C of a continuous stream, the vocabulary size of a categorical one (whose values are
    one-hot or probabilities), or the number of bits of a binary one (0, 1 or the probability of 1), so that every stream is
    `(B, N, width)`. With the prior `mask` the vocabulary's last entry is the mask, which no clean token is. `axes` may be
    empty: a pure set. `order` says what a permutation of the tokens means; for a `set` permutation equivariance is tested.
    """

    name: str
    kind: Literal["continuous", "categorical", "binary"] = "continuous"
    width: int
    axes: tuple[AxisSpec, ...] = ()
    order: Literal["grid", "sequence", "set"] = "grid"
    prior: Literal["normal", "normal_centred", "mask", "uniform"] = "normal"
    centred: tuple[int, ...] = ()
    """With prior `normal_centred`: the channels whose mean over the row's valid tokens is zero (all if empty)."""
    given: bool = False
    """Always given (an observation, a context), never made: kept clean at time 0 in training and in sampling."""


def missing_axes(who: str, named: Iterable[str], specs: Iterable[StreamSpec]) -> str | None:
    """Why a method cannot go along these axes, if there are some that no stream has: who "goes along the axes ['z']: …", or None."""
    known = sorted({axis.name for spec in specs for axis in spec.axes})
    missing = sorted(set(named) - set(known))
    return f"{who} goes along the axes {missing}: the tokens have {known or 'none'}" if missing else None
