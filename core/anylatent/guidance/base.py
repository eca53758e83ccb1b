"""The contract of a guidance."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from anylatent.node import Node
from anylatent.types import Bool, Float, Tensor


@dataclass(frozen=True)
class Branch:
    """One prediction that a guidance wants, of `model` under `condition`, for `rows` (a mask; None: all), with streams `absent`.

    Branches of one model share a batch, whatever guidance or request wants them.
    """

    name: str
    condition: Literal["asked", "null"] = "asked"
    rows: Bool[Tensor, " rows"] | None = None
    model: str = "main"
    absent: tuple[str, ...] = ()
    """Streams that it sees nothing of: their tokens are the prior at time 1. It has no prediction of them to combine."""


@dataclass(frozen=True)
class Moment:
    """Where B rows are when a guidance plans: the time of each `(B,)` (the latest of its tokens'), and its step `(B,)`."""

    time: Float[Tensor, " rows"]
    step: Tensor


class Guidance(Node, family="guidance"):
    """Plans branches, and combines what the denoiser says in each."""

    def needs_null(self) -> bool:
        """Whether some branch asks under the null condition: the denoiser must have been trained with one."""
        return False

    def models(self) -> Collection[str]:
        """The denoisers besides the main one that its branches ask, by the name that the engine knows them by."""
        return ()

    def streams(self) -> Collection[str]:
        """The streams that its branches name."""
        return ()

    def plan(self, moment: Moment) -> Sequence[Branch]:
        """The branches of this moment; the first is the conditional prediction of all rows."""
        return [Branch("asked")]

    def combine(self, predictions: Mapping[str, Tensor], moment: Moment) -> Tensor:
        """One prediction of clean tokens `(B, N, C)` out of the branches'. In a branch's absent rows its prediction is 0."""
        return predictions["asked"]
