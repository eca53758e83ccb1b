"""UniPC: predict with the past, correct with the prediction that the next step needs anyway."""

from typing import ClassVar, Literal

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import Path, as_gaussian
from anylatent.solvers.base import Memory, Move, Query, Solver, Steps, meaning, pushed
from anylatent.solvers.exponential import Line, integrand, linear, log_snr
from anylatent.solvers.integrals import weights
from anylatent.types import Float, Tensor


class UniPC(Solver, kind="unipc"):
    """Unified predictor-corrector: UniP-p predicts, UniC-p corrects, without further calls (Zhao et al. 2023, 2302.04867).

    Algorithms 5 and 6. A step begins by correcting where it is: the integral of the last step is made again, with the new
    prediction among those that its polynomial goes through. That is one order more than the predictor's. The step to t = 0 returns
    the prediction.
    """

    systems: ClassVar[tuple[str, ...]] = ("UniPC (2302.04867)",)

    points: int = Field(default=2, ge=1, le=3, description="Predictions of the predictor's polynomial, p of UniPC-p; the order is p + 1.")
    parameter: Literal["data", "noise"] = Field(default="data", description="What is taken to be a polynomial in lambda.")
    line: Line = Field(
        default="bh2", description="B(h) where two points make a line: h, exp(h) - 1, or its exact integral. With more, all are the same."
    )

    @property
    def order(self) -> int:
        return self.points + 1

    @property
    def cold(self) -> int:
        """At most 3: the first step knows one prediction, and is corrected with two."""
        return min(self.order, 3)

    def table(self, path: Path, times: Float[Tensor, "times *tokens"]) -> Float[Tensor, "steps *tokens numbers"]:
        """First or not, p, q, 1 / alpha for noise, a, b; the predictor's numbers and those of the corrector of the step before."""
        path = as_gaussian(path)
        a, b, _ = linear(path, times)
        past = range(1, self.points)
        u, at, weight, middle = integrand(path, times, self.parameter, line=self.line)
        predictor = weights(u, at, weight, past, middle)
        corrector = [torch.cat((torch.zeros_like(w[:1]), w[:-1])) for w in weights(u, at, weight, [-1, *past], middle)]
        first = torch.cat((torch.ones_like(a[:1]), torch.zeros_like(a[1:])))
        clean = (self.parameter == "data") | ~log_snr(path, times[:-1]).isfinite()
        back = torch.where(clean, 0.0, 1 / path.alpha(times[:-1]))
        return torch.stack([first, *meaning(path, times[:-1], self.parameter), back, a, b, *predictor, *corrector], -1)

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> Memory:
        return {name: torch.zeros_like(x) for name in ("plain", *(f"m{k}" for k in range(1, self.points + 1)))}

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        d = yield Query(x, move.t)
        first, p, q, back, a, b, *w = (column[..., None] for column in move.table.unbind(-1))
        predictor, corrector = w[: self.points - 1], w[self.points - 1 :]
        m, last = p * x + q * d, memory["m1"]
        corrected = memory["plain"] + corrector[0] * (m - last)
        for k, weight in enumerate(corrector[1:], 2):
            corrected = corrected + weight * (memory[f"m{k}"] - last)
        corrected = torch.where(first > 0, x, corrected)
        # The noise is the network's word as it stands; with it, other tokens mean other data.
        plain = a * corrected + b * (d + back * (corrected - x))
        moved = plain
        for k, weight in enumerate(predictor, 1):
            moved = moved + weight * (memory[f"m{k}"] - m)
        return moved, {"plain": plain} | pushed(m, memory, self.points)
