"""What guidances that have others inside share."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from anylatent.guidance.base import Branch, Guidance, Variant
from anylatent.hooks.base import Hook
from anylatent.paths.base import Path
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.schedules.base import Schedule

Heard = TypeVar("Heard")


class Around(Guidance):
    """A guidance with others `within`: what those need it needs, and what refuses them refuses it."""

    def within(self) -> Sequence[Guidance]:
        """The guidances inside."""
        raise NotImplementedError

    def needs_null(self) -> bool:
        return any(each.needs_null() for each in self.within())

    def variants(self) -> Mapping[str, Variant]:
        return {name: variant for each in self.within() for name, variant in each.variants().items()}

    def denoisers(self) -> Collection[str]:
        return {name for each in self.within() for name in each.denoisers()}

    def streams(self) -> Collection[str]:
        return {name for each in self.within() for name in each.streams()}

    def hooks(self) -> Collection[Hook]:
        return [hook for each in self.within() for hook in each.hooks()]

    def supports(self, path: Path) -> str | None:
        return next(filter(None, (each.supports(path) for each in self.within())), None)

    def refuses(self, specs: Sequence[StreamSpec]) -> str | None:
        return next(filter(None, (each.refuses(specs) for each in self.within())), None)

    def follows_noise(self) -> bool:
        return any(each.follows_noise() for each in self.within())

    def course(self, schedule: "Schedule", steps: int) -> "Schedule":
        for each in self.within():
            schedule = each.course(schedule, steps)
        return schedule

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> dict[str, Tensor]:
        return {name: value for each in self.within() for name, value in each.memory(x).items()}


def labelled(label: str, branch: Branch) -> Branch:
    """A branch of one of several guidances inside, and what it asks (if that is the guidance's own), under names of its own."""
    condition = branch.condition if branch.condition in ("asked", "null") else f"{label}:{branch.condition}"
    return replace(branch, name=f"{label}:{branch.name}", condition=condition)


def labelled_as(label: str, named: Mapping[str, Heard]) -> dict[str, Heard]:
    """What is known of the branches of that guidance, or what it remembers, by the names that it knows."""
    return {name.partition(":")[2]: each for name, each in named.items() if name.startswith(f"{label}:")}
