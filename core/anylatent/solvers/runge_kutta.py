"""Explicit Runge-Kutta methods on the probability-flow ODE: one class, a table of tableaus."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import as_gaussian
from anylatent.solvers.base import Memory, Move, Query, Solver, Steps
from anylatent.types import Float, Tensor


@dataclass(frozen=True)
class Tableau:
    """Butcher's: stage i is at t + nodes[i] h, from x + h sum_j stages[i][j] v_j; the step is x + h sum_i weights[i] v_i.

    `lower`: the weights of an embedded method of one order less, whose difference from the step is its error. The first stage,
    at t from x, is left out of `nodes` and `stages`.
    """

    order: int
    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    lower: tuple[float, ...] = ()

    @cached_property
    def error(self) -> tuple[float, ...]:
        return tuple(high - low for high, low in zip(self.weights, self.lower, strict=True))


TABLEAUS = {
    "midpoint": Tableau(2, (1 / 2,), ((1 / 2,),), (0, 1)),
    "heun": Tableau(2, (1,), ((1,),), (1 / 2, 1 / 2)),
    "ralston": Tableau(2, (2 / 3,), ((2 / 3,),), (1 / 4, 3 / 4)),
    "rk3": Tableau(3, (1 / 2, 1), ((1 / 2,), (-1, 2)), (1 / 6, 2 / 3, 1 / 6)),
    "rk4": Tableau(4, (1 / 2, 1 / 2, 1), ((1 / 2,), (0, 1 / 2), (0, 0, 1)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
    "bogacki-shampine": Tableau(
        3,
        (1 / 2, 3 / 4, 1),
        ((1 / 2,), (0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
        (2 / 9, 1 / 3, 4 / 9, 0.0),
        (7 / 24, 1 / 4, 1 / 3, 1 / 8),
    ),
    "dormand-prince": Tableau(
        5,
        (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1),
        (
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
        ),
        (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
        (5179 / 57600, 0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40),
    ),
}
"""Kutta 1901 (rk3, rk4), Heun 1900, Ralston 1962, Bogacki & Shampine 1989, Dormand & Prince 1980; Hairer et al. 1993, ch. II."""


def combined(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """sum_i weights[i] slopes[i], without the zeros."""
    return torch.stack([weight * slope for weight, slope in zip(weights, slopes, strict=False) if weight]).sum(0)


def marched(tableau: Tableau, x: Tensor, memory: Memory, move: Move) -> Steps:
    """One step of the tableau; the one that ends at t = 0 returns the prediction (there, velocities divide by sigma = 0)."""
    path, t, s = as_gaussian(move.path), move.t, move.s
    data = yield Query(x, t)
    inside = s > 0
    rows = inside.flatten(1).any(1)
    if not rows.any():
        return data, memory
    slopes = [path.velocity(data, x, t)]
    for node, weights in zip(tableau.nodes, tableau.stages, strict=True):
        there = torch.where(inside, t + node * (s - t), t)
        guess = torch.where(inside, x + (s - t) * combined(weights, slopes), x)
        d = yield Query(guess, there, rows)
        slopes.append(path.velocity(d, guess, there))
    return torch.where(inside, x + (s - t) * combined(tableau.weights, slopes), data), memory


class RungeKutta(Solver, kind="runge-kutta"):
    """An explicit Runge-Kutta method on the probability-flow ODE, of the order and calls of its tableau.

    Hairer, Norsett & Wanner 1993, ch. II, eq. 1.8; for diffusion Karras et al. 2022 (2206.00364, app. D.2). A step that ends at
    t = 0 returns the prediction.
    """

    tableau: Literal["midpoint", "heun", "ralston", "rk3", "rk4", "bogacki-shampine", "dormand-prince"] = Field(
        default="rk4", description="Orders 2, 2, 2, 3, 4, 3, 5; calls a step 2, 2, 2, 3, 4, 4, 7."
    )

    @property
    def order(self) -> int:
        return TABLEAUS[self.tableau].order

    @property
    def calls(self) -> int:
        return len(TABLEAUS[self.tableau].weights)

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        return (yield from marched(TABLEAUS[self.tableau], x, memory, move))
