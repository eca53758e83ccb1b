"""Predictor-corrector sampling: after each step of another solver, Langevin steps at the new noise level."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import Path, as_gaussian, not_gaussian
from anylatent.solvers.base import Around, Memory, Move, Query, Solver, Steps
from anylatent.solvers.ddim import DDIM
from anylatent.types import Float, Tensor


class Langevin(Around, kind="langevin"):
    """x <- x + e score + sqrt(2 e) z with e = 2 (r sigma)^2 (Song et al. 2020, 2011.13456, algorithms 4 and 5).

    Their step 2 (r |z| / |score|)^2, with the norms as they are in expectation where noise dominates, |score| = |z| / sigma: so a step
    depends on nothing but its time, neither on other rows nor on the network's mood. It brings tokens that a coarse step left off
    their distribution back to it; its own bias is of the order of r^2. None at t = 0; with `steps` 0 it is the inner solver.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {"steps": 0}
    systems: ClassVar[tuple[str, ...]] = ("Score SDE predictor-corrector (2011.13456)",)

    costs: ClassVar[Mapping[str, str]] = {"network_calls": "solver + steps"}

    solver: Solver = Field(default=DDIM(), description="What moves from time to time.")
    steps: int = Field(default=1, ge=0, description="Langevin steps, and calls, after each of its steps.")
    signal_to_noise: float = Field(default=0.16, gt=0, le=1, description="r: how large they are.")

    @property
    def idle(self) -> bool:
        return self.steps == 0

    @property
    def order(self) -> int:
        """0, because its own bias stays however many steps the inner solver makes."""
        return self.solver.order if self.idle else 0

    @property
    def cold(self) -> int:
        return self.solver.cold if self.idle else 0

    @property
    def stochastic(self) -> bool:
        return self.solver.stochastic or not self.idle

    @property
    def calls(self) -> int:
        return self.solver.calls and self.solver.calls + self.steps

    def supports(self, path: Path) -> str | None:
        return not_gaussian(path, f"solver '{self.kind}' moves along") or super().supports(path)

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        path, s = as_gaussian(move.path), move.s
        x, memory = yield from self.solver.step(x, memory, move)
        inside = s > 0
        rows = inside.flatten(1).any(1)
        if self.idle or not rows.any():
            return x, memory
        move.count(self.kind, "steps", self.steps * rows.to(x.dtype))
        s = torch.where(inside, s, move.t)
        e = 2 * self.signal_to_noise**2
        for draw in range(self.steps):
            d = yield Query(x, s, rows)
            # e sigma^2 score = -e sigma (noise that the prediction implies)
            there = x - e * path.sigma(s) * path.to_noise(d, x, s) + (2 * e) ** 0.5 * path.sigma(s) * move.noise(draw, "langevin")
            x = torch.where(inside, there, x)
        return x, memory
