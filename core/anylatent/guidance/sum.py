"""Several guidances at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from anylatent.guidance.around import Around, Heard, labelled, labelled_as
from anylatent.guidance.base import Branch, Guidance, Variant
from anylatent.moment import Here, Moment
from anylatent.types import Float, Tensor


class Sum(Around, kind="sum"):
    """Several guidances at once: what each would add to what is asked, added up.

    asked + sum (g_i - asked); what is asked is asked once. Classifier-free guidance with autoguidance, or with a perturbation
    (PAG: Ahn et al. 2024, 2403.17377), are sums.
    """

    example: ClassVar[Mapping[str, Any]] = {"terms": [{"kind": "classifier-free", "scale": 3.0}, {"kind": "perturbed", "scale": 4.0}]}
    neutral: ClassVar[Mapping[str, Any] | None] = {"terms": [{"kind": "classifier-free", "scale": 1.0}]}

    costs: ClassVar[Mapping[str, str]] = {"network_calls": "terms"}

    terms: tuple[Guidance, ...] = Field(min_length=1, description="The guidances.")

    def within(self) -> Sequence[Guidance]:
        return self.terms

    def variants(self) -> Mapping[str, Variant]:
        return {f"{i}:{name}": variant for i, term in enumerate(self.terms) for name, variant in term.variants().items()}

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> dict[str, Tensor]:
        return {f"{i}:{name}": value for i, term in enumerate(self.terms) for name, value in term.memory(x).items()}

    def plan(self, moment: Moment) -> Sequence[Branch]:
        found = {"asked": Branch("asked")}
        for i, term in enumerate(self.terms):
            _add(found, [self._named(i, branch) for branch in term.plan(moment)])
        return list(found.values())

    def follow(self, predictions: Mapping[str, Mapping[str, Tensor]], here: Mapping[str, Here]) -> Sequence[Branch]:
        found: dict[str, Branch] = {}
        for i, term in enumerate(self.terms):
            own = {name: replace(each, memory=labelled_as(str(i), each.memory)) for name, each in here.items()}
            _add(found, [self._named(i, branch) for branch in term.follow(self._heard(i, predictions), own)])
        return list(found.values())

    def branches(self) -> set[str]:
        later = [term.branches() - Guidance.branches(term) for term in self.terms]  # what a term plans at once is in this one's plan
        return super().branches() | {f"{i}:{name}" for i, names in enumerate(later) for name in names}

    def asks_again(self) -> bool:
        return any(term.asks_again() for term in self.terms)

    def combine(self, predictions: Mapping[str, Tensor], here: Here) -> Tensor:
        asked = data = predictions["asked"]
        for i, term in enumerate(self.terms):
            own = replace(here, memory=labelled_as(str(i), here.memory))
            guided = term.combine(self._heard(i, predictions), own)
            here.memory.update({f"{i}:{name}": value for name, value in own.memory.items()})
            data = guided if data is asked else data + (guided - asked)
        return data

    def _named(self, i: int, branch: Branch) -> Branch:
        """A term's branch under a name of its own; but what is asked, as it is (perhaps looked at by hooks), is everybody's."""
        plain = branch.denoiser == "main" and not branch.absent and branch.sees is None and not any(h.changes for h in branch.hooks)
        if branch.name == branch.condition == "asked" and plain:
            return replace(branch, rows=None)
        return labelled(str(i), branch)

    def _heard(self, i: int, predictions: Mapping[str, Heard]) -> dict[str, Heard]:
        """What a term's branches said, by the names that it knows."""
        return {"asked": predictions["asked"]} | labelled_as(str(i), predictions)


def _add(found: dict[str, Branch], branches: Sequence[Branch]) -> None:
    """Branches of the same name are one, with the hooks of both."""
    for branch in branches:
        known = found.get(branch.name)
        if known is None:
            found[branch.name] = branch
        else:
            hooks = {hook.key(): hook for hook in (*known.hooks, *branch.hooks)}
            found[branch.name] = replace(known, hooks=tuple(hooks.values()))
