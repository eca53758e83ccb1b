"""Classifier-free guidance."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.guidance.base import Branch, Variant
from anylatent.guidance.contrast import Contrast
from anylatent.node import Stage


class ClassifierFree(Contrast, kind="classifier-free"):
    """Classifier-free guidance: away from what is made without the conditions.

    null + scale (asked - null) (Ho & Salimans 2022, 2207.12598, eq. 6), in an interval of times (Kynkäänniemi et al. 2024,
    2404.07724). On clean-token predictions this equals the same rule on noise, score or velocity: all are linear in it with
    weights that sum to the same. With `against` the null's place is taken by conditions to be guided away from (negative
    prompts).
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {"scale": 1.0}
    variations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"against": {"against": {"label": 3}}}
    systems: ClassVar[tuple[str, ...]] = ("Classifier-free guidance (2207.12598)", "Limited interval guidance (2404.07724)")

    against: dict[str, Any] = Field(default={}, description="Conditions, by name, of the weak prediction; none: the null.")

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        found = super().example_for(stage, variation)
        return found | {"against": {stage.condition: stage.conditions[stage.condition][-1]}} if variation else found

    def needs_null(self) -> bool:
        return self.guided() and not self.against

    def variants(self) -> Mapping[str, Variant]:
        return {"against": Variant(ask=self.against)} if self.against and self.guided() else {}

    def weak(self) -> Branch:
        return Branch("null", "against" if self.against else "null")
