"""Runge-Kutta with error control: rows choose their own step sizes."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import as_gaussian
from anylatent.solvers.base import LOWEST, Memory, Move, Query, Solver, Steps
from anylatent.solvers.runge_kutta import TABLEAUS, combined
from anylatent.types import Float, Tensor


class Adaptive(Solver, kind="adaptive"):
    """An embedded Runge-Kutta pair that keeps the error of each sub-step under `tolerance`, a row at a time.

    Dormand & Prince 1980 or Bogacki & Shampine 1989, sizes chosen as in Hairer et al. 1993 (II.4, eq. 4.13 and 4.14). A sub-step's
    error is that of its worst token: the mean square over channels of (difference of the pair) / (tolerance (1 + |x|)). A step is
    split into as many sub-steps as that takes, whatever other rows do, and the next begins with their size; with tolerance infinity
    it is one, that of `runge-kutta`. The step to t = 0 goes to the noise-to-signal ratio 0.01 and then returns the prediction, so
    that `steps: 1` is enough. The receipt says how many sub-steps were made, how many more were rejected, and how many were taken at
    the limit although their error was over the tolerance (`over_tolerance`).
    """

    calls: ClassVar[int] = 0
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "needed"}

    tableau: Literal["bogacki-shampine", "dormand-prince"] = Field(default="bogacki-shampine", description="Orders 3(2) and 5(4).")
    tolerance: float = Field(default=0.01, gt=0, description="Error allowed a sub-step, absolute and relative.")
    limit: int = Field(default=100, ge=1, description="Tries a step; the last one goes the whole way, whatever its error.")

    @property
    def order(self) -> int:
        return TABLEAUS[self.tableau].order

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> Memory:
        """The size in t of a row's last sub-step; 0: none yet."""
        return {"size": torch.zeros_like(x[:, :1, :1])}

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        path, t = as_gaussian(move.path), move.t
        tableau = TABLEAUS[self.tableau]
        ends = move.s <= 0
        s = torch.where(ends, torch.minimum(t, path.time_of(torch.full_like(t, LOWEST))), move.s)
        span = s - t
        # Each row's share of the way, so that its tokens may have times of their own.
        done = torch.zeros_like(x[:, :1, :1])

        def slope_of(d: Tensor, x: Tensor, t: Tensor) -> Tensor:
            """Of the share of the way; tokens that rest have none, where their velocity may be infinite."""
            return torch.where(span == 0, 0.0, span * path.velocity(d, x, t))

        slope = slope_of((yield Query(x, t)), x, t)
        length = span.abs().amax(1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
        cautious = _coarse((0.01 / self._norm(slope, x)) ** (1 / tableau.order))
        size = torch.where(memory["size"] > 0, memory["size"] / length, cautious).clamp(max=1)
        for left in reversed(range(self.limit)):
            going = done < 1
            rows = going.flatten()
            h = (1 - done) if left == 0 else torch.minimum(size, 1 - done)
            slopes = [slope]
            guess = x
            for node, weights in zip(tableau.nodes, tableau.stages, strict=True):
                guess = torch.where(going, x + h * combined(weights, slopes), x)
                there = t + torch.where(going, done + node * h, done) * span
                d = yield Query(guess, there, rows)
                slopes.append(slope_of(d, guess, there))
            # Both pairs end with the new point's slope: `guess` is the step.
            worst = self._norm(h * combined(tableau.error, slopes), torch.maximum(x.abs(), guess.abs()))
            accepted = going & ((worst <= 1) | (left == 0))
            move.count(self.kind, "sub_steps", accepted.to(x.dtype).flatten())
            move.count(self.kind, "rejected", (going & ~accepted).to(x.dtype).flatten())
            move.count(self.kind, "over_tolerance", (accepted & (worst > 1)).to(x.dtype).flatten())
            x, slope = torch.where(accepted, guess, x), torch.where(accepted, slopes[-1], slope)
            done = torch.where(accepted, torch.where(h >= 1 - done, 1.0, done + h), done)
            wanted = h * (0.9 * worst.clamp(min=1e-9) ** (-1 / tableau.order)).clamp(0.2, 2)
            size = torch.where(going, _coarse(wanted), size)
            if bool((done >= 1).all()):
                break
        if ends.any():
            data = yield Query(x, s, ends.flatten(1).any(1))
            x = torch.where(ends, data, x)
        return x, {"size": size * length}

    def _norm(self, change: Tensor, x: Tensor) -> Float[Tensor, "rows 1 1"]:
        """The change of each row's worst token, in units of what is tolerated."""
        return (change / (self.tolerance * (1 + x.abs()))).square().mean(2, keepdim=True).sqrt().amax(1, keepdim=True)


def _coarse(size: Tensor) -> Tensor:
    """The nearest of four sizes an octave: an error's rounding, which depends on the batch, does not change the step."""
    return torch.exp2((4 * size.log2()).round() / 4)
