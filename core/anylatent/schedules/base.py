"""The contract of a schedule."""

from typing import TYPE_CHECKING

from anylatent.lazy import torch
from anylatent.node import Node
from anylatent.paths.base import Path
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.state import Stream


class Schedule(Node, family="schedule"):
    """The times that rows go through in `n` steps: from the path's start to 0.

    They fall, or rise again in places (then there are more steps than `n`); a row's tokens may each have their own. They are made
    once a request, in double.
    """

    @property
    def rises(self) -> bool:
        """Whether its times may go up again: tokens are then noised anew, and there are more than `n` steps."""
        return False

    def refuses(self, spec: StreamSpec) -> str | None:
        """Why it cannot move tokens of this kind, or None."""
        return None

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        """`n + 1` times from `start` to 0, float64; more where it `rises`. Errors: `ValueError` if it does not suit the path."""
        raise NotImplementedError

    def token_times(self, n: int, path: Path, start: float, stream: "Stream", spec: StreamSpec) -> Tensor | None:
        """Times of their own for each token `(B, steps + 1, N)`, float64, by its place; None: all tokens of all rows have `times`.

        `(B, steps + 1, 1)`: for each row. A row's times are a function of its own tokens; rows that are done sooner are
        padded with 0.
        """
        return None


def ramp(n: int) -> Float[Tensor, " times"]:
    """`n + 1` numbers from 1 to 0, equally far apart."""
    if n < 1:
        raise ValueError(f"a schedule needs at least 1 step, given {n}")
    return torch.linspace(1, 0, n + 1, dtype=torch.float64)


def shifted(t: Tensor, shift: float | Tensor) -> Tensor:
    """Times moved towards 1: on a straight path, sigma / alpha times `shift` (Esser et al. 2024, 2403.03206, eq. 23)."""
    return shift * t / (1 + (shift - 1) * t)
