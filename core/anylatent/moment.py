"""Where rows are when a method is asked: what guidance and corrections are given besides predictions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from anylatent.nn.sites import Site
from anylatent.paths.base import Path
from anylatent.spec import StreamSpec
from anylatent.types import Bool, Float, Int, Tensor


@dataclass(frozen=True)
class Moment:
    """Where B rows are: the time of each `(B,)` (the latest of its tokens'), and its step of how many `(B,)`."""

    time: Float[Tensor, " rows"]
    step: Int[Tensor, " rows"]
    steps: Int[Tensor, " rows"]
    rising: Bool[Tensor, " rows"] | None = None
    """Rows that are asked to go up, undoing a step (`Schedule.reflects`); None: no row."""


def _no_slope(condition: str, rows: Tensor, predicted: bool, marginal: float) -> Tensor:
    raise LookupError(f"the slope of a classifier of '{condition}' was asked for of a `Here` made by hand without `slope`")


def _no_noise(draw: int) -> Tensor:
    raise LookupError(f"draw {draw} of noise was asked for of a `Here` made by hand without `noise`")


@dataclass(frozen=True)
class Here:
    """One stream of B rows at the moment of a question: its tokens `x` at times `t`, and what is known besides.

    `rows`: those that ask; the others' predictions are 0 and their answers are not used. `measured`: what the request gave
    with its rows, by name. What a method writes into `memory` (tensors with a leading row axis), it finds there at the row's
    next question. `count(name, rows, amount)` enters something in the method's receipt.
    """

    spec: StreamSpec
    path: Path
    x: Float[Tensor, "rows tokens width"]
    t: Float[Tensor, "rows #tokens 1"]
    mask: Bool[Tensor, "rows tokens"]
    keep: Bool[Tensor, "rows tokens"]
    positions: Float[Tensor, "rows tokens axes"]
    moment: Moment
    rows: Bool[Tensor, " rows"]
    s: Float[Tensor, "rows #tokens 1"] | None = None
    """The time at which the rows' step ends, if they are in one."""
    measured: Mapping[str, Tensor] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)
    count: Callable[[str, Tensor, float], None] = lambda name, rows, amount=1.0: None
    noise: Callable[[int], Tensor] = field(default=lambda draw: _no_noise(draw))
    """Prior noise of the stream's shape, of the k-th draw of this method in the rows' steps: from their own seeds."""
    noted: Callable[[str, Site, str], dict[int, Tensor]] = lambda name, site, branch: {}
    """What hooks wrote under a name at a site in a branch `(valid tokens, K)`, by row index, where it is still there."""
    classes: Mapping[str, Int[Tensor, " rows"]] = field(default_factory=dict)
    """By the conditions of classifiers: which class each row is asked to be, -1 for none."""
    slope: Callable[[str, Tensor, bool, float], Tensor] = _no_slope
    """grad log p(class | tokens of all streams) by this stream's noised tokens, of a condition's classifier, for the rows where a mask
    `(B,)` is true (which must be asked it); 0 in the others, which cost nothing. Then whether the classifier is shown the predicted
    clean tokens in place of the noised ones (`Correction.gradient` must be so), and how much of all classes' sum is taken off."""
