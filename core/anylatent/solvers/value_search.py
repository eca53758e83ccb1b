"""Search among the steps of a stochastic solver."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field, model_validator

from anylatent.energies import Energy
from anylatent.lazy import torch
from anylatent.paths.discrete import DiscretePath
from anylatent.solvers.base import Around, Memory, Move, Noise, Query, Solver, Steps
from anylatent.solvers.ddim import Ancestral
from anylatent.spec import StreamSpec
from anylatent.types import Bool, Float, Int, Tensor


class ValueSearch(Around, kind="value-search"):
    """Value-based decoding (SVDD): of several candidates for each step, the one whose predicted clean tokens have the lowest energy.

    Li et al. 2024, 2408.08252, alg. 1 in the limit of alpha = 0, with minus the energy of the predicted clean tokens as the value
    (SVDD-PM): of tokens, or of the sample that they decode to (a simulator, a count), without gradients. Candidates differ in the row's
    own noise alone, so that rows stay independent; guidance and corrections have their say before the energy. Each step but the last
    makes 1 + `candidates` calls; with one candidate it is the inner solver, exactly. The last step chooses only where it draws tokens
    (of a vocabulary or bits), among those. The receipt says how many steps were searched and in how many another candidate than the
    first, the solver's own step, was chosen; where energies are equal (or none is a number) the first is. Of several streams that it
    moves, each chooses for itself; where decoded samples are judged they are the same for all, and so is the choice.
    """

    example: ClassVar[Mapping[str, Any]] = {"energy": {"kind": "roughness"}, "candidates": 2}
    neutral: ClassVar[Mapping[str, Any] | None] = {"candidates": 1}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "candidates * (1 + solver)"}
    systems: ClassVar[tuple[str, ...]] = ("SVDD (2408.08252)",)

    solver: Solver = Field(default=Ancestral(), description="What moves from time to time; it must be stochastic.")
    energy: Energy = Field(description="What is to be low: of predicted clean tokens, or of the samples that they decode to.")
    candidates: int = Field(default=4, ge=1, description="How many next states are tried at each step; 1: the solver as it is.")

    @model_validator(mode="after")
    def _has_a_choice(self) -> "ValueSearch":
        if not self.solver.stochastic:
            raise ValueError(f"solver 'value-search' chooses among random steps, and '{self.solver.kind}' makes none: take 'ancestral'")
        return self

    @property
    def idle(self) -> bool:
        return self.candidates == 1

    def refuses(self, spec: StreamSpec) -> str | None:
        return self.energy.refuses(spec) or self.solver.refuses(spec)

    @property
    def energies(self) -> tuple[Energy, ...]:
        return (self.energy, *self.solver.energies)

    @property
    def calls(self) -> int:
        """The first question is the same for all candidates; each has its others, and its value."""
        return self.solver.calls if self.idle or not self.solver.calls else 1 + self.candidates * self.solver.calls

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        going = (move.s > 0).flatten(1).any(1)
        # The last step of a Gaussian path adds no noise; tokens of a discrete one are drawn in it, and are then clean: none asks for them.
        searched = torch.ones_like(going) if isinstance(move.path, DiscretePath) else going
        if self.idle or not searched.any():
            return (yield from self.solver.step(x, memory, move))
        heard: list[Tensor] = []
        made = []
        for k in range(self.candidates):
            own = _own(move, k, searched)
            made.append((yield from _once(self.solver.step(x, memory, own), x, heard, searched if k else None)))
        best, most = torch.zeros_like(going, dtype=torch.long), None
        for k, (new, _) in enumerate(made):
            data = torch.where(going[:, None, None], (yield Query(new, move.s, going)), new) if going.any() else new
            value = (-move.judge(self.energy, data, searched)).nan_to_num(-torch.inf, torch.inf, -torch.inf)
            better = searched & (value > _beyond_rounding(most)) if most is not None else torch.zeros_like(going)
            best = torch.where(better, k, best)
            most = value if most is None else torch.where(better, value, most)
        move.count(self.kind, "searched", searched.to(x.dtype))
        move.count(self.kind, "changed", (best > 0).to(x.dtype))
        names = made[0][1]
        return _chosen([new for new, _ in made], best), {name: _chosen([kept[name] for _, kept in made], best) for name in names}


def _apart(noise: Noise, k: int) -> Noise:
    """The noise of a candidate after the first, which has the step's own."""
    return lambda draw, purpose="": noise(draw, f"{purpose}/candidate {k}")


def _own(move: Move, k: int, going: Bool[Tensor, " rows"]) -> Move:
    """The move of a candidate: in rows that have nothing to choose, those after the first do not count."""
    if not k:
        return move
    return replace(move, noise=_apart(move.noise, k), count=lambda kind, name, amounts: move.count(kind, name, amounts * going))


def _once(
    steps: Steps, x: Tensor, heard: list[Tensor], rows: Bool[Tensor, " rows"] | None
) -> Generator[Query, Tensor, tuple[Tensor, Memory]]:
    """A step whose first question, the same for all candidates, is asked by the first of them alone; others for `rows` alone."""
    try:
        query = next(steps)
        if query.x is x:
            if not heard:
                heard.append((yield query))
            query = steps.send(heard[0])
        while True:
            asked = query.rows if rows is None else rows if query.rows is None else rows & query.rows
            query = steps.send((yield Query(query.x, query.t, asked)))
    except StopIteration as stop:
        return stop.value


def _beyond_rounding(value: Float[Tensor, " rows"]) -> Tensor:
    """What is better than this by more than rounding: where candidates are as good, a row must choose alike in every batch."""
    return torch.where(value.isfinite(), value + 1e-5 * value.abs(), value)


def _chosen(candidates: list[Tensor], best: Int[Tensor, " rows"]) -> Tensor:
    """Of each row, the candidate that is best."""
    return torch.stack(candidates)[best, torch.arange(len(best), device=best.device)]
