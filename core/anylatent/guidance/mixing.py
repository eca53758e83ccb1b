"""What guidances share that put a mixture in the place of each prediction that another guidance combines."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Self

from pydantic import Field, model_validator

from anylatent.guidance.around import Around
from anylatent.guidance.base import Branch, Guidance, Variant
from anylatent.guidance.none import Unguided
from anylatent.lazy import torch
from anylatent.moment import Here, Moment
from anylatent.types import Float, Tensor

Members = Mapping[str, Tensor]
"""What the members of a branch said, by label."""


class Mixing(Around):
    """Asks each branch of an `inner` guidance several times, as its *members*, and lets it combine their weighted means.

    The first member has the branch's own name, the others that name, the class's `mark` and a label. A subclass says what
    the members of a branch are, and what each counts.
    """

    mark: ClassVar[str] = ""

    inner: Guidance = Field(default=Unguided(), description="What guides the mixture.")

    @model_validator(mode="after")
    def _not_in_itself(self) -> Self:
        if isinstance(self.inner, type(self)):
            raise ValueError(f"guidance '{self.kind}' cannot have another '{self.kind}' inside: give one with all parts")
        if self.inner.asks_again():
            raise ValueError(
                f"guidance '{self.kind}' cannot have '{self.inner.kind}' inside, which asks in rounds: put them the other way round, "
                "or side by side in a 'sum'"
            )
        return self

    def members(self, branch: Branch, here: Mapping[str, Here]) -> Mapping[str, Branch]:
        """The members of a branch by label, the first's is empty; `here` is empty before the first question. One alone: as it is."""
        raise NotImplementedError

    def weights(self, labels: Sequence[str], predictions: Mapping[str, Members], here: Here) -> Mapping[str, Tensor]:
        """What each member counts, `(B, #N, 1)`; their sum is 1. `predictions` are of the inner branches, by name."""
        raise NotImplementedError

    def asks(self) -> Sequence[Variant]:
        """What "asked" means in each member."""
        return [Variant()]

    def condition(self, member: int, name: str) -> str:
        """The name of a branch's condition in a member."""
        return f"{name}{self.mark}{member}" if name != "null" and self.asks()[member] != Variant() else name

    def within(self) -> Sequence[Guidance]:
        return (self.inner,)

    def variants(self) -> Mapping[str, Variant]:
        named = {"asked": Variant(), **self.inner.variants()}
        found = dict(self.inner.variants())
        for member, outer in enumerate(self.asks()):
            if outer != Variant():
                found |= {self.condition(member, name): _both(outer, variant) for name, variant in named.items()}
        return found

    def plan(self, moment: Moment) -> Sequence[Branch]:
        return self.expanded(self.inner.plan(moment), {})

    def combine(self, predictions: Mapping[str, Tensor], here: Here) -> Tensor:
        return self.inner.combine(self.mixed(predictions, here), here)

    def expanded(self, branches: Sequence[Branch], here: Mapping[str, Here]) -> list[Branch]:
        """All members of some branches, under names of their own."""
        return [
            replace(member, name=f"{branch.name}{self.mark}{label}" if label else branch.name)
            for branch in branches
            for label, member in self.members(branch, here).items()
        ]

    def mixed(self, predictions: Mapping[str, Tensor], here: Here) -> dict[str, Tensor]:
        """The mean of each inner branch's members; a branch with one member alone is as it is."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, value in predictions.items():
            branch, _, label = name.rpartition(self.mark) if self.mark in name else (name, "", "")
            found.setdefault(branch, {})[label] = value
        labels = list(dict.fromkeys(label for members in found.values() for label in members))
        weights = self.weights(labels, found, here) if set(labels) != {""} else {}
        return {name: members[""] if set(members) == {""} else _mean(members, weights) for name, members in found.items()}


def _mean(members: Members, weights: Mapping[str, Tensor]) -> Float[Tensor, "rows tokens width"]:
    """Each token's mean; where a member counts 1 and the others nothing, that member exactly."""
    return torch.stack([torch.where(weights[label] == 0, 0.0, weights[label] * value) for label, value in members.items()]).sum(0)


def _both(outer: Variant, inner: Variant) -> Variant:
    """What is asked when a row is first asked `outer`, and of that `inner`."""
    kept = {name: value for name, value in outer.ask.items() if name not in inner.without}
    return Variant((*outer.without, *inner.without), kept | dict(inner.ask))
