"""Several things asked at once, or of several denoisers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from anylatent.guidance.base import Branch, Variant
from anylatent.guidance.densities import followed, levelling, remembered
from anylatent.guidance.mixing import Members, Mixing
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.node import Node, Stage
from anylatent.paths.base import Path, not_gaussian
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor


class Entry(Node):
    """One of the things that are asked."""

    ask: dict[str, Any] = Field(default={}, description="Conditions, by name, in place of the row's own.")
    without: tuple[str, ...] = Field(default=(), description="Conditions of the row that are not asked.")
    model: str = Field(default="main", description="The denoiser: main, weights (ema-0.9, trained@500), or another run's folder.")
    weight: float = Field(default=1.0, description="What it counts; below 0: away from it (product only).")


class Compose(Mixing, kind="compose"):
    """One sample out of several conditions or denoisers: their AND, their OR, or their mean.

    `product` (and): null + sum w_i (p_i - null), the score of prod q_i^w_i / q^(sum w - 1) (Liu et al. 2022, 2206.01714, eq. 11; eq. 12
    with negative weights); with weights that sum to 1 the null is not asked. It is exact at each noise level and no sample of
    that product, whose noised densities are not the product of the noised ones (Du et al. 2023, 2302.11552).
    `mean`: sum w_i p_i / sum w_i. `mixture` (or): the mean weighted by w_i q_i(x_t) / sum w q, with densities followed along
    the way (SuperDiff's OR: Skreta et al. 2024, 2412.17762, theorem 1; see `densities.py`): the score of the mixture of the
    entries' distributions. `equal` (and, too): the mean whose weights keep these densities in the ratio of the entries' weights
    (SuperDiff's AND, their algorithm 1; see `densities.py`): samples that all entries hold to be as likely, rather than
    likely in all. Both need a solver whose noise is the path's own (`Solver.renews`: `ancestral`, `sde-dpm++`), and refuse others.
    """

    mark: ClassVar[str] = "&"
    example: ClassVar[Mapping[str, Any]] = {"entries": [{"ask": {"label": 3}}, {"ask": {"label": 5}}], "rule": "mean"}
    variations: ClassVar[Mapping[str, Mapping[str, Any]]] = {rule: {"rule": rule} for rule in ("product", "mixture", "equal")}
    neutral: ClassVar[Mapping[str, Any] | None] = {"entries": [{}]}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "(1 + inner) * (entries + (rule == 'product')) - 1"}
    systems: ClassVar[tuple[str, ...]] = ("Composable Diffusion (2206.01714)", "SuperDiff (2412.17762)", "CinDM, of samplers (2401.13171)")

    entries: tuple[Entry, ...] = Field(min_length=1, description="What is asked, of whom, and what it counts.")
    rule: Literal["product", "mean", "mixture", "equal"] = Field(default="product", description="How they are made one.")

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        entries = [{"ask": {stage.condition: stage.conditions[stage.condition][0]}}, stage.something_else()]
        return super().example_for(stage, variation) | {"entries": entries}

    @model_validator(mode="after")
    def _weighty(self) -> "Compose":
        if self.rule != "product" and min(entry.weight for entry in self.entries) <= 0:
            raise ValueError(
                f"the rule '{self.rule}' counts every entry: expected weights above 0 (only a product goes away from an entry)"
            )
        return self

    def asks(self) -> Sequence[Variant]:
        return [Variant(entry.without, entry.ask) for entry in self.entries]

    def needs_null(self) -> bool:
        return super().needs_null() or self._away() != 0

    def denoisers(self) -> Collection[str]:
        return {*super().denoisers(), *(entry.model for entry in self.entries if entry.model != "main")}

    def supports(self, path: Path) -> str | None:
        refusal = not_gaussian(path, f"guidance '{self.kind}' follows the densities of its entries on") if self._follows else None
        return refusal or super().supports(path)

    def follows_noise(self) -> bool:
        return (self._follows and len(self.entries) > 1) or super().follows_noise()

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> dict[str, Tensor]:
        own = remembered(x, len(self.entries)) if self._follows and len(self.entries) > 1 else {}
        return super().memory(x) | own

    def refuses(self, specs: Sequence[StreamSpec]) -> str | None:
        made = [spec.name for spec in specs if not spec.given]
        if self._follows and len(made) > 1:
            return f"guidance '{self.kind}' follows densities of one stream ('{self.rule}'), and here are {made}: use a product or mean"
        return super().refuses(specs)

    def members(self, branch: Branch, here: Mapping[str, Here]) -> Mapping[str, Branch]:
        if branch.condition == "null" and all(entry.model == "main" for entry in self.entries):
            return {"": branch}
        found = {}
        for i, entry in enumerate(self.entries):
            if entry.weight:
                denoiser = entry.model if branch.denoiser == "main" else branch.denoiser
                found[_label(i)] = replace(branch, condition=self.condition(i, branch.condition), denoiser=denoiser)
        if self._away():
            found["null"] = replace(branch, condition="null")
        return found

    def weights(self, labels: Sequence[str], predictions: Mapping[str, Members], here: Here) -> Mapping[str, Tensor]:
        own = torch.tensor([entry.weight for entry in self.entries], dtype=here.x.dtype, device=here.x.device)
        match self.rule:
            case "product":
                weights = own.expand(len(here.x), -1)
            case "mean":
                weights = (own / own.sum()).expand(len(here.x), -1)
            case "mixture":
                parts = self._parts(predictions, len(own))
                weights = (followed(parts, here) + own.log()).softmax(1)
            case "equal":
                parts = self._parts(predictions, len(own))
                weights = levelling(parts, followed(parts, here) - own.log(), here)
        found = {_label(i): weights[:, i, None, None] for i in range(len(own))}
        return found | {"null": torch.full_like(found[""], self._away())}

    @property
    def _follows(self) -> bool:
        """Whether it goes by densities."""
        return self.rule in ("mixture", "equal")

    def _parts(self, predictions: Mapping[str, Members], count: int) -> Float[Tensor, "rows count tokens width"]:
        heard = predictions.get("asked") or next(iter(predictions.values()))
        return torch.stack([heard[_label(i)] for i in range(count)], 1)

    def _away(self) -> float:
        """What the null counts in a product."""
        return 1 - sum(entry.weight for entry in self.entries) if self.rule == "product" else 0.0


def _label(member: int) -> str:
    return str(member) if member else ""
