"""DPM-Solver and DPM-Solver++ that ask several times a step: exponential Runge-Kutta methods."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import GaussianPath, Path, as_gaussian
from anylatent.solvers.base import Memory, Move, Query, Solver, Steps, meaning
from anylatent.solvers.exponential import integrand, linear, log_snr
from anylatent.solvers.integrals import weights
from anylatent.types import Float, Tensor


class DPMSolver(Solver, kind="dpm-solver"):
    """DPM-Solver-1, 2 and 3 (Lu et al. 2022, 2206.00927, algorithms 1 and 2), or with `data` DPM-Solver++(2S) (2211.01095, algorithm 1).

    It asks again at `r` (third order: at 1/3 and 2/3) of the way in lambda = ln(alpha / sigma), reached by the step of the order
    below, and extrapolates linearly from the first prediction. One prediction, and first order, from infinite noise and in the step
    to t = 0.
    """

    systems: ClassVar[tuple[str, ...]] = ("DPM-Solver (2206.00927)", "DPM-Solver++ (2211.01095)")

    costs: ClassVar[Mapping[str, str]] = {"network_calls": "order - 1"}

    order: int = Field(default=2, ge=1, le=3, description="Order, and calls a step.")
    parameter: Literal["data", "noise"] = Field(default="noise", description="noise: DPM-Solver; data: DPM-Solver++ (singlestep).")
    r: float = Field(default=0.5, gt=0, le=1, description="Where second order asks again, as a share of the step in lambda.")

    @property
    def calls(self) -> int:
        return self.order

    def table(self, path: Path, times: Float[Tensor, "times *tokens"]) -> Float[Tensor, "steps *tokens numbers"]:
        """p, q; for each place in between and then the end a, b, w; for each place t, p, q."""
        path = as_gaussian(path)
        t, s = times[:-1], times[1:]
        lam = log_snr(path, times)
        shares = {1: (), 2: (self.r,), 3: (1 / 3, 2 / 3)}[self.order]
        places = [path.time_of((-lam[:-1] - share * lam.diff(dim=0)).exp()) for share in shares]
        places = [torch.where(lam.diff(dim=0).isfinite(), place, torch.nan) for place in places]
        moves, before = [], None
        for end in (*places, s):
            moves += self._move(path, t, before, end)
            before = end
        inner = [column for place in places for column in (place, *meaning(path, place, self.parameter))]
        return torch.stack([*meaning(path, t, self.parameter), *moves, *inner], -1).nan_to_num(nan=-1.0)

    def _move(self, path: GaussianPath, t: Tensor, before: Tensor | None, end: Tensor) -> list[Tensor]:
        """a, b and w: x = a x_t + b d + w (m_before - m_t), the line through m_t and m_before integrated to `end`."""
        a, b, _ = linear(path, torch.stack((t, end)))
        if before is None:
            return [a[0], b[0], torch.zeros_like(t)]
        # As two steps, one of them backwards: from `before` to t, and from there to the end.
        parts = integrand(path, torch.stack((before, t, end)), self.parameter, line="bh2" if self.order == 2 else "exact")
        u, at, weight, middle = parts
        return [a[0], b[0], weights(u, at, weight, (1,), middle)[0][1]]

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        d = yield Query(x, move.t)
        p, q, a, b, w, *rest = (column[..., None] for column in move.table.unbind(-1))
        m = p * x + q * d
        inner = 3 * (self.order - 1)
        moves, places = rest[:inner], rest[inner:]
        change = torch.zeros_like(x)
        for i in range(0, inner, 3):
            place, p, q = places[i : i + 3]
            asked = place > 0
            there = torch.where(asked, a * x + b * d + w * change, x)
            a, b, w = moves[i : i + 3]
            rows = asked.flatten(1).any(1)
            if rows.any():
                again = yield Query(there, torch.where(asked, place, move.t), rows)
                change = torch.where(asked, p * there + q * again - m, 0.0)
        return a * x + b * d + w * change, memory
