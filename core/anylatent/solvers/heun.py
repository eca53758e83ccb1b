"""Heun's method: guess with Euler, then go with the mean of both ends' velocities."""

from typing import ClassVar

from anylatent.lazy import torch
from anylatent.paths.base import GaussianPath
from anylatent.solvers.base import Memory, Move, Query, Solver, Steps
from anylatent.types import Float, Tensor


class Heun(Solver, kind="heun"):
    """The explicit trapezoidal rule, second order (Karras et al. 2022, 2206.00364, algorithm 1, lines 4 to 9).

    A step that ends at t = 0 is Euler's, the prediction: the velocity there divides by sigma = 0, and no training sees it.
    """

    order: ClassVar[int] = 2
    calls: ClassVar[int] = 2

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        path, t, s = move.path, move.t, move.s
        assert isinstance(path, GaussianPath), "checked by `supports`"
        data = yield Query(x, t)
        here = path.velocity(data, x, t)
        inside = s > 0
        guess = torch.where(inside, x + (s - t) * here, data)
        rows = inside.flatten(1).any(1)
        if not rows.any():
            return guess, memory
        d = yield Query(guess, s, rows)
        there = path.velocity(d, guess, torch.where(inside, s, t))
        return torch.where(inside, x + (s - t) / 2 * (here + there), guess), memory
