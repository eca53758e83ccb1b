"""Several conditions, each with a scale of its own."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from anylatent.guidance.base import Branch, Variant
from anylatent.guidance.timed import Timed
from anylatent.lazy import torch
from anylatent.moment import Here, Moment
from anylatent.node import Node, Stage
from anylatent.types import Tensor


class ConditionScale(Node):
    """A condition and how strongly it guides."""

    condition: str = Field(min_length=1, description="Its name in the recipe.")
    scale: float = Field(description="1: as it is asked.")


class PerCondition(Timed, kind="per-condition"):
    """Classifier-free guidance with a scale for each condition, and a null each.

    Conditions that are not named are always asked. `chain`: e() + s_1 (e(c_1) - e()) + s_2 (e(c_1, c_2) - e(c_1)) + …, in the
    order given (InstructPix2Pix: Brooks et al. 2022, 2211.09800, eq. 3, with the source first). `apart`: e() + sum s_i (e(c_i) -
    e()), as if the conditions were independent (Liu et al. 2022, 2206.01714, eq. 11). `without`: e(all) + sum (s_i - 1)
    (e(all) - e(all but c_i)). All scales 1 are neutral in `chain` and `without`, and in `apart` for a single condition. What
    counts 0 times is not asked.
    """

    example: ClassVar[Mapping[str, Any]] = {"scales": [{"condition": "label", "scale": 2.0}]}
    neutral: ClassVar[Mapping[str, Any] | None] = {"scales": [{"condition": "label", "scale": 1.0}]}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "scales"}
    systems: ClassVar[tuple[str, ...]] = ("InstructPix2Pix (2211.09800)", "Composable Diffusion (2206.01714)", "CMG (2410.10802)")

    scales: tuple[ConditionScale, ...] = Field(min_length=1, description="The conditions and their scales; in `chain` the order matters.")
    rule: Literal["chain", "apart", "without"] = Field(default="chain", description="What the conditions' parts are.")

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return super().example_for(stage, variation) | {"scales": [{"condition": stage.condition, "scale": 2.0}]}

    @model_validator(mode="after")
    def _once(self) -> "PerCondition":
        names = [each.condition for each in self.scales]
        if len(set(names)) < len(names):
            raise ValueError(f"conditions {names}: expected each once")
        return self

    def terms(self) -> dict[str, tuple[float, tuple[str, ...]]]:
        """What each branch counts, and the conditions that it does without, by its name; those that count 0 are left out."""
        names, scales = [each.condition for each in self.scales], [each.scale for each in self.scales]
        found: dict[tuple[str, ...], float]
        match self.rule:
            case "chain":
                falls = zip([1.0, *scales], [*scales, 0.0], strict=True)
                found = {tuple(names[i:]): before - after for i, (before, after) in enumerate(falls)}
            case "apart":
                alone = {tuple(other for other in names if other != name): scale for name, scale in zip(names, scales, strict=True)}
                found = {tuple(names): 1 - sum(scales), **alone}
            case "without":
                found = {(): 1 + sum(scale - 1 for scale in scales)}
                found |= {(name,): 1 - scale for name, scale in zip(names, scales, strict=True)}
        return {("without " + ", ".join(left) if left else "asked"): (count, left) for left, count in found.items() if count}

    def guided(self) -> bool:
        """Whether there is anything to do."""
        return set(self.terms()) != {"asked"}

    def variants(self) -> Mapping[str, Variant]:
        return {name: Variant(without=left) for name, (_, left) in self.terms().items() if left}

    def needs_null(self) -> bool:
        return self.guided()

    def plan(self, moment: Moment) -> Sequence[Branch]:
        share, terms = self.share(moment), self.terms()
        active = (share != 0) & self.guided()
        asked = torch.ones_like(active) if "asked" in terms else ~active | (share != 1)
        found = [Branch("asked", rows=asked), *(Branch(name, name, active) for name, (_, left) in terms.items() if left)]
        return [branch for branch in found if branch.rows is not None and branch.rows.any()]

    def combine(self, predictions: Mapping[str, Tensor], here: Here) -> Tensor:
        share = self.share(here.moment)[:, None, None]
        asked = predictions.get("asked", torch.zeros_like(here.x))
        if not self.guided():
            return asked
        terms = [count * predictions[name] for name, (count, _) in self.terms().items() if name in predictions]
        guided = torch.stack(terms).sum(0) if terms else asked
        return torch.where(share == 0, asked, torch.where(share == 1, guided, asked + share * (guided - asked)))
