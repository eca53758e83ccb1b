"""The contract of a guidance."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anylatent.hooks.base import Hook
from anylatent.lazy import torch
from anylatent.moment import Here, Moment
from anylatent.node import Node
from anylatent.paths.base import Path
from anylatent.spec import StreamSpec
from anylatent.types import Bool, Float, Tensor

if TYPE_CHECKING:
    from anylatent.conditioners.base import Conditions
    from anylatent.schedules.base import Schedule
    from anylatent.state import State


@dataclass(frozen=True)
class Variant:
    """Another thing to ask of a row: what it is asked, `without` some conditions, and with others as in `ask`."""

    without: tuple[str, ...] = ()
    ask: Mapping[str, Any] = field(default_factory=dict)

    def of(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What a row is asked instead."""
        return {name: value for name, value in asked.items() if name not in self.without} | dict(self.ask)


@dataclass(frozen=True)
class Branch:
    """One prediction that a guidance wants, of `denoiser` under `condition`, for `rows` (a mask; None: all), with streams `absent`.

    `condition` is "asked", "null", or one of the guidance's `variants`. Branches of one denoiser share a batch, whatever
    guidance or request wants them.
    """

    name: str
    condition: str = "asked"
    rows: Bool[Tensor, " rows"] | None = None
    denoiser: str = "main"
    absent: tuple[str, ...] = ()
    """Streams that it sees nothing of: their tokens are the prior at time 1. It has no prediction of them to combine."""
    hooks: tuple[Hook, ...] = ()
    """Hooks in this branch only, inside of those that the request asks for."""
    sees: "Callable[[State], State] | None" = None
    """What it sees in place of the rows' tokens as they are: the same rows and streams, other values, places or masks."""


class Guidance(Node, family="guidance"):
    """Plans branches, and combines what the denoiser says in each."""

    def needs_null(self) -> bool:
        """Whether some branch asks under the null condition: the denoiser must have been trained with one."""
        return False

    def variants(self) -> Mapping[str, Variant]:
        """The other things that its branches ask, by name."""
        return {}

    def unknown(self, conditions: "Conditions") -> Iterator[str]:
        """Why it cannot guide a denoiser that knows these conditions: its variants name others, or values that those do not have."""
        variants = self.variants().values()
        unknown = {name for variant in variants for name in (*variant.without, *variant.ask)} - set(conditions.named)
        if unknown:
            known = ", ".join(sorted(conditions.named)) or "none"
            yield f"guidance '{self.kind}' names the conditions {sorted(unknown)}: the denoiser knows {known}"
            return
        found = filter(None, [conditions.refuses(variant.ask) for variant in variants])
        yield from dict.fromkeys(f"guidance '{self.kind}' asks what is not known: {problem}" for problem in found)

    def denoisers(self) -> Collection[str]:
        """The denoisers besides the main one that its branches ask, by name: weights of the run, or another run's folder."""
        return ()

    def streams(self) -> Collection[str]:
        """The streams that its branches name."""
        return ()

    def hooks(self) -> Collection[Hook]:
        """The hooks that its branches use: what sites they need, the denoiser must name."""
        return ()

    def supports(self, path: Path) -> str | None:
        """Why it cannot guide a stream on this path, or None."""
        return None

    def refuses(self, specs: Sequence[StreamSpec]) -> str | None:
        """Why it cannot guide these streams together, or None."""
        return None

    def follows_noise(self) -> bool:
        """Whether it goes by what noise does on the way: solvers must then add the path's own (`Solver.renews`), in times that fall."""
        return False

    def course(self, schedule: "Schedule", steps: int) -> "Schedule":
        """The times that it goes through in place of a schedule of so many steps."""
        return schedule

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> dict[str, Tensor]:
        """What it remembers of a stream before a row's first question."""
        return {}

    def plan(self, moment: Moment) -> Sequence[Branch]:
        """The branches of this moment."""
        return [Branch("asked")]

    def follow(self, predictions: Mapping[str, Mapping[str, Tensor]], here: Mapping[str, Here]) -> Sequence[Branch]:
        """Further branches, once the first have answered: `predictions` by branch and stream. None, usually."""
        return ()

    def branches(self) -> set[str]:
        """The names of all branches that it asks, at some time."""
        time = torch.linspace(0, 1, 201)
        step = torch.zeros(len(time), dtype=torch.long)
        return {branch.name for branch in self.plan(Moment(time, step, step + 1))}

    def asks_again(self) -> bool:
        """Whether it asks in rounds, by `follow`."""
        return type(self).follow is not Guidance.follow

    def combine(self, predictions: Mapping[str, Tensor], here: Here) -> Tensor:
        """One prediction of clean tokens `(B, N, C)` out of the branches'. In a branch's absent rows its prediction is 0.

        Of a categorical stream these are logarithms of probabilities.
        """
        return predictions["asked"]
