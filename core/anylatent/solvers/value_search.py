"""Search among the steps of a stochastic solver."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field, model_validator

from anylatent.lazy import torch
from anylatent.measurements.base import Code
from anylatent.solvers.base import Around, Memory, Move, Noise, Query, Solver, Steps
from anylatent.solvers.ddim import Ancestral
from anylatent.types import Float, Int, Tensor


class ValueSearch(Around, kind="value-search"):
    """Value-based decoding (SVDD): of several candidates for each step, the one whose predicted clean tokens are worth most.

    Li et al. 2024, 2408.08252, alg. 1 in the limit of alpha = 0, with the value of the predicted clean tokens (SVDD-PM): any function
    of them, a simulator or a count, without gradients. Candidates differ in the row's own noise alone, so that rows stay
    independent; guidance and corrections have their say before the value. Each step but the last makes 1 + `candidates` calls;
    with one candidate it is the inner solver, exactly. The last step adds no noise, and has nothing to choose. The receipt says how
    many steps were searched and in how many another candidate than the first, the solver's own step, was chosen; where
    values are equal the first is.
    """

    python_only: ClassVar[bool] = True
    neutral: ClassVar[Mapping[str, Any] | None] = {"candidates": 1}
    systems: ClassVar[tuple[str, ...]] = ("SVDD (2408.08252)",)

    solver: Solver = Field(default=Ancestral(), description="What moves from time to time; it must be stochastic.")
    value: Code = Field(description="Of predicted clean tokens `(B, N, C)`, 0 in the padding, to `(B,)`; the larger the better.")
    candidates: int = Field(default=4, ge=1, description="How many next states are tried at each step; 1: the solver as it is.")

    @model_validator(mode="after")
    def _has_a_choice(self) -> "ValueSearch":
        if not self.solver.stochastic:
            raise ValueError(f"solver 'value-search' chooses among random steps, and '{self.solver.kind}' makes none: take 'ancestral'")
        return self

    @property
    def idle(self) -> bool:
        return self.candidates == 1

    @property
    def calls(self) -> int:
        """The first question is the same for all candidates; each has its others, and its value."""
        return self.solver.calls if self.idle or not self.solver.calls else 1 + self.candidates * self.solver.calls

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        going = (move.s > 0).flatten(1).any(1)
        if self.idle or not going.any():
            return (yield from self.solver.step(x, memory, move))
        heard: list[Tensor] = []
        made = []
        for k in range(self.candidates):
            own = replace(move, noise=_apart(move.noise, k))
            made.append((yield from _once(self.solver.step(x, memory, own), x, heard)))
        best, most = torch.zeros_like(going, dtype=torch.long), None
        for k, (new, _) in enumerate(made):
            value = self.value.by_row((yield Query(new, move.s, going))).nan_to_num(-torch.inf, torch.inf, -torch.inf)
            better = going & (value > most) if most is not None else torch.zeros_like(going)
            best = torch.where(better, k, best)
            most = value if most is None else torch.where(better, value, most)
        move.count(self.kind, "searched", going.to(x.dtype))
        move.count(self.kind, "changed", (best > 0).to(x.dtype))
        names = made[0][1]
        return _chosen([new for new, _ in made], best), {name: _chosen([kept[name] for _, kept in made], best) for name in names}


def _apart(noise: Noise, k: int) -> Noise:
    """The noise of a candidate; the first has the step's own."""
    return lambda draw, purpose="": noise(draw, f"{purpose}/candidate {k}" if k else purpose)


def _once(steps: Steps, x: Tensor, heard: list[Tensor]) -> Generator[Query, Tensor, tuple[Tensor, Memory]]:
    """A step whose first question, the same for all candidates, is asked by the first of them alone."""
    try:
        query = next(steps)
        while True:
            if query.x is x:
                if not heard:
                    heard.append((yield query))
                query = steps.send(heard[0])
            else:
                query = steps.send((yield query))
    except StopIteration as stop:
        return stop.value


def _chosen(candidates: list[Tensor], best: Int[Tensor, " rows"]) -> Tensor:
    """Of each row, the candidate that is best."""
    return torch.stack(candidates)[best, torch.arange(len(best), device=best.device)]
