"""The contract of a solver.

A solver moves one stream. It never calls a network: it *yields* the tokens that it wants a prediction for, and is sent
that prediction. So the one engine can answer many streams, rows and solvers with one batch, and guidance, caches and
conditions are no business of a solver.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from pydantic import Field

from anylatent.energies import Energy
from anylatent.lazy import torch
from anylatent.node import Node
from anylatent.paths.base import GaussianPath, Path, as_gaussian, not_gaussian
from anylatent.spec import StreamSpec
from anylatent.types import Bool, Float, Tensor

Memory = dict[str, Tensor]
"""What a solver remembers of earlier steps: tensors with a leading row axis."""


@dataclass(frozen=True)
class Query:
    """A request for the clean tokens: what do you make of `x` at time `t`? `rows`: a mask of those that need an answer."""

    x: Float[Tensor, "rows tokens width"]
    t: Float[Tensor, "rows #tokens 1"]
    rows: Bool[Tensor, " rows"] | None = None


class Noise(Protocol):
    """A step's noise: the path's prior noise (standard normal on Gaussian paths) of the tokens' shape, by row seed and step.

    Draws of one purpose differ, and so do purposes: what goes around a solver names one of its own.
    """

    def __call__(self, draw: int, purpose: str = "") -> Tensor: ...


class Count(Protocol):
    """Enters in the receipt of a solver, by its kind, what each row did in this step, under a name; 0: nothing."""

    def __call__(self, kind: str, name: str, amounts: Float[Tensor, " rows"]) -> None: ...


def uncounted(kind: str, name: str, amounts: Float[Tensor, " rows"]) -> None:
    """A `Count` of a step that nobody asks about."""


class Judge(Protocol):
    """The energy of clean tokens that were predicted for the stream: given ones in their place, padding left out.

    Where decoded samples are judged, all streams are decoded: the others as they were predicted in the same answer. `rows`: a mask of
    those to judge; the others' energy is infinite.
    """

    def __call__(self, energy: Energy, x: Float[Tensor, "rows tokens width"], rows: Bool[Tensor, " rows"]) -> Float[Tensor, " rows"]: ...


def _no_judge(energy: Energy, x: Tensor, rows: Tensor) -> Tensor:
    raise LookupError(f"energy '{energy.kind}' was asked for of a `Move` made by hand without `judge`")


@dataclass(frozen=True)
class Move:
    """One step of B rows: from `t` to `s` (they broadcast against `(B, N, C)`).

    `table` `(B, #N, K)` holds this step's numbers from `Solver.table`. Calls of the network are counted by the engine; `count` is for
    what a solver decides row by row, or leaves undone; `judge` is for those that choose.
    """

    path: Path
    t: Float[Tensor, "rows #tokens 1"]
    s: Float[Tensor, "rows #tokens 1"]
    table: Float[Tensor, "rows #tokens numbers"]
    noise: Noise
    count: Count = uncounted
    judge: Judge = _no_judge


Steps = Generator[Query, Tensor, tuple[Tensor, Memory]]
"""What a step is: it yields queries, is sent predictions of the clean tokens, and returns the new tokens and memory."""

WayBack = Literal["none", "near", "exact"]
"""Whether a step can be undone: not at all, up to an error like its own, or exactly."""


class Solver(Node, family="solver"):
    """One move of a stream's tokens from time t to time s."""

    order: ClassVar[int]
    """The global order of convergence: the error falls as (1/steps)^order; that of mean and covariance, where it is stochastic.

    A law measures it. It may be a class variable, a field or a property; 0: a bias stays.
    """
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "calls - 1"}
    stochastic: ClassVar[bool] = False
    calls: ClassVar[int] = 1
    """Predictions asked for in a full step, at most; 0: no fixed number."""
    way_back: ClassVar[WayBack] = "none"
    """Whether there is an `unstep`, and whether that undoes `step` up to its error or exactly; a class variable or a property."""

    @property
    def cold(self) -> int:
        """The order of convergence where rows begin at a finite noise level without a past: of multistep solvers, less than `order`."""
        return self.order

    def renews(self, path: Path) -> bool:
        """Whether the noise of its steps is the path's own: as much as is new in a step of the reverse process (Ho et al. 2020,
        2006.11239, eq. 7), for what follows densities by it."""
        return False

    def supports(self, path: Path) -> str | None:
        """Why it cannot run on this path, or None."""
        return not_gaussian(path, f"solver '{self.kind}' moves along")

    def refuses(self, spec: StreamSpec) -> str | None:
        """Why it cannot move such a stream, or None."""
        return None

    def refuses_times(self, times: Float[Tensor, " times"] | None) -> str | None:
        """Why it cannot go through these times of a whole request, or None. `times` None: rows or tokens have their own."""
        return None

    @property
    def energies(self) -> tuple[Energy, ...]:
        """What it goes by, if it chooses."""
        return ()

    def end(self, path: Path) -> float:
        """The time at which it stops: 0, but for a solver that cannot go all the way."""
        return 0.0

    def table(self, path: Path, times: Float[Tensor, "times *tokens"]) -> Float[Tensor, "steps *tokens numbers"]:
        """Numbers that each step needs, made once from times that fall (float64), of a row or of each of its tokens; may be empty.

        Where they depend on what came before, the first step of `times` has no before: a row that was noised again starts
        a new table. A step that goes nowhere (t = s) is not made: its numbers do not matter.
        """
        return times.new_zeros(len(times) - 1, *times.shape[1:], 0)

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> Memory:
        """What a row remembers before its first step."""
        return {}

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        """One step; see `Steps`. Tokens of one row must not touch those of another."""
        raise NotImplementedError

    def unstep(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        """The way back: from `move.s`, where `x` is, to the earlier `move.t`; the same numbers as `step` had.

        Where `way_back` is exact it gives back the very tokens (and memory) that `step` was given; where it is "none" there need not
        be one.
        """
        raise NotImplementedError


Parameter = Literal["data", "noise", "velocity"]
"""What a solver takes to be smooth in time: the prediction itself, the noise that it implies, or the velocity."""


class Multistep(Solver):
    """x_s = a x_t + b_0 d + sum_k b_k m_k + c z, with d the new prediction and m_k the k-th last: a solver that is a table.

    A subclass gives only numbers: `coefficients(path, times)` returns columns a, b_0 … b_{history}, c, each `(steps, …)`:
    `times` `(steps + 1, …)` may have a further axis, of tokens. What is remembered, m, is what `remembers` says.
    """

    history: ClassVar[int] = 0
    """How many earlier predictions enter; the first steps have fewer, and a lower order."""
    remembers: ClassVar[Parameter] = "data"

    @property
    def cold(self) -> int:
        """At most 2: the first step knows one prediction, and makes an error of second order, once."""
        return min(self.order, 2)

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        """The columns a, b_0, …, b_history, and c for stochastic ones, each `(steps, …)`."""
        raise NotImplementedError

    def table(self, path: Path, times: Float[Tensor, "times *tokens"]) -> Float[Tensor, "steps *tokens numbers"]:
        path = as_gaussian(path)
        remembered = meaning(path, times[:-1], self.remembers) if self.history and self.remembers != "data" else ()
        return torch.stack([*remembered, *self.coefficients(path, times)], -1)

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> Memory:
        return {f"m{k}": torch.zeros_like(x) for k in range(1, self.history + 1)}

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        """The table's row, applied; every number is a `(B, #N, 1)` column."""
        d = yield Query(x, move.t)
        columns = [column[..., None] for column in move.table.unbind(-1)]
        m = d
        if self.history and self.remembers != "data":
            p, q, *columns = columns
            m = p * x + q * d
        a, *b = columns
        moved = a * x + b[0] * d
        for k in range(1, self.history + 1):
            moved = moved + b[k] * memory[f"m{k}"]
        if self.stochastic:
            moved = moved + b[-1] * move.noise(0)
        return moved, pushed(m, memory, self.history)


class OneStep(Multistep):
    """A table without history or noise: it has a way back, a nearly right one."""

    way_back: ClassVar[WayBack] = "near"

    def unstep(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        """The step solved for x_t as if the prediction were the same at both ends (Song et al. 2020, 2010.02502, sec. 4.3).

        Its error is that of a step. Clean tokens (s = 0) count as those of the lowest noise, `LOWEST`.
        """
        path, t = as_gaussian(move.path), move.t
        low = torch.minimum(path.time_of(torch.full_like(t, LOWEST)), t / 2)
        clean = move.s <= 0
        s = torch.where(clean, low, move.s)
        x = torch.where(clean, path.alpha(low) * x, x)
        d = yield Query(x, s)
        a, b = self.table(path, torch.stack((t, s)))[0].unbind(-1)
        return (x - b * d) / a, memory


class Around(Solver):
    """What does more in another solver's steps; unless a subclass says else, all else is as that one says.

    What the inner solver counts is in the receipts under its own kind.
    """

    solver: Solver = Field(description="What moves from time to time.")

    @property
    def idle(self) -> bool:
        """Whether it adds nothing to the inner solver: it is neutral."""
        raise NotImplementedError

    @property
    def order(self) -> int:
        return self.solver.order

    @property
    def cold(self) -> int:
        return self.solver.cold

    @property
    def stochastic(self) -> bool:
        return self.solver.stochastic

    @property
    def calls(self) -> int:
        return self.solver.calls

    @property
    def way_back(self) -> WayBack:
        return self.solver.way_back if self.idle else "none"

    def renews(self, path: Path) -> bool:
        """Other noise, or chosen noise, is not the path's own."""
        return self.idle and self.solver.renews(path)

    def supports(self, path: Path) -> str | None:
        return self.solver.supports(path)

    def refuses(self, spec: StreamSpec) -> str | None:
        return self.solver.refuses(spec)

    def refuses_times(self, times: Float[Tensor, " times"] | None) -> str | None:
        return self.solver.refuses_times(times)

    @property
    def energies(self) -> tuple[Energy, ...]:
        return self.solver.energies

    def end(self, path: Path) -> float:
        return self.solver.end(path)

    def table(self, path: Path, times: Float[Tensor, "times *tokens"]) -> Float[Tensor, "steps *tokens numbers"]:
        return self.solver.table(path, times)

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> Memory:
        return self.solver.memory(x)

    def unstep(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        return self.solver.unstep(x, memory, move)


LOWEST = 0.01
"""The noise-to-signal ratio at which clean tokens are asked about, and where solvers that cannot reach t = 0 end."""


def meaning(path: GaussianPath, t: Tensor, parameter: Parameter) -> tuple[Tensor, Tensor]:
    """p and q of m = p x + q d: the prediction d at (x, t) as the data, noise or velocity that it means."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    match parameter:
        case "data":
            return torch.zeros_like(t), torch.ones_like(t)
        case "noise":
            return 1 / sigma, -alpha / sigma
        case "velocity":
            ratio = path.sigma_dot(t) / sigma
            return ratio, path.alpha_dot(t) - alpha * ratio


def pushed(newest: Tensor, memory: Memory, history: int) -> Memory:
    """The memory with `newest` as m1 and every other one older by one."""
    return {f"m{k}": memory[f"m{k - 1}"] if k > 1 else newest for k in range(1, history + 1)}
