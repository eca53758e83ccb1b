"""Heun's method: guess with Euler, then go with the mean of both ends' velocities."""

from typing import ClassVar

from anylatent.solvers.base import Memory, Move, Solver, Steps
from anylatent.solvers.runge_kutta import TABLEAUS, marched
from anylatent.types import Float, Tensor


class Heun(Solver, kind="heun"):
    """The explicit trapezoidal rule, second order (Karras et al. 2022, 2206.00364, algorithm 1, lines 4 to 9).

    A step that ends at t = 0 is Euler's, the prediction: the velocity there divides by sigma = 0, and no training sees it.
    """

    order: ClassVar[int] = 2
    calls: ClassVar[int] = 2
    systems: ClassVar[tuple[str, ...]] = ("EDM (2206.00364)",)

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        return (yield from marched(TABLEAUS["heun"], x, memory, move))
