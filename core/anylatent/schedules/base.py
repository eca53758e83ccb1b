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
    def called(self) -> str:
        """What it is called in messages."""
        return f"schedule '{self.kind}'"

    @property
    def rises(self) -> bool:
        """Whether its times may go up again: tokens are then noised anew, and there are more than `n` steps."""
        return False

    @property
    def reflects(self) -> bool:
        """Whether tokens go up by the denoiser, as in an inversion, and not by fresh noise."""
        return False

    @property
    def own_times(self) -> bool:
        """Whether rows, or their tokens, may have times of their own (`token_times`): no other schedule can then go by its `times`."""
        return type(self).token_times is not Schedule.token_times

    def apart(self, spec: StreamSpec) -> bool:
        """Whether tokens of one row of this stream may be at different times, which only training with `forcing` shows."""
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


def shared(kind: str, of: Schedule) -> None:
    """Errors: `ValueError` if the schedule `of`, inside of one of that kind, has times that rows or tokens do not share."""
    if of.own_times:
        raise ValueError(f"schedule '{kind}' goes by times that all tokens share, given '{of.kind}', which gives them their own")


def ramp(n: int) -> Float[Tensor, " times"]:
    """`n + 1` numbers from 1 to 0, equally far apart."""
    if n < 1:
        raise ValueError(f"a schedule needs at least 1 step, given {n}")
    return torch.linspace(1, 0, n + 1, dtype=torch.float64)


def shifted(t: Tensor, shift: float | Tensor) -> Tensor:
    """Times moved towards 1: on a straight path, sigma / alpha times `shift` (Esser et al. 2024, 2403.03206, eq. 23)."""
    return shift * t / (1 + (shift - 1) * t)
