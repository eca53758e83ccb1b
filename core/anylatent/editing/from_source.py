"""Guidance in which every branch attends to a given sample's tokens too."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from anylatent.guidance.around import Around
from anylatent.guidance.base import Branch, Guidance, Variant
from anylatent.guidance.none import Unguided
from anylatent.hooks.attention_from import AttentionFrom
from anylatent.hooks.base import Hook
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.types import Tensor

if TYPE_CHECKING:
    from anylatent.state import State


class FromSource(Around, kind="from-source"):
    """First a branch "source" sees the given sample where its inversion was at this step; then those of `of` take from its attention.

    `measured` has the inversion's "trail" `(B, steps + 1, N, C)` by stream, from the data to the prior, in as many steps.
    """

    of: Guidance = Field(default=Unguided(), description="What is asked besides, and how it is combined.")
    source: dict[str, Any] = Field(default={}, description="What the given sample is.")
    without: tuple[str, ...] = Field(default=(), description="Conditions that it is not asked under: all that the rows are asked.")
    attention: AttentionFrom = Field(default=AttentionFrom(), description="What is taken, where and when.")

    def within(self) -> Sequence[Guidance]:
        return (self.of,)

    def variants(self) -> Mapping[str, Variant]:
        return dict(super().variants()) | {"source": Variant(self.without, self.source)}

    def hooks(self) -> Collection[Hook]:
        return (self.attention, *super().hooks())

    def branches(self) -> set[str]:
        return {"source", *self.of.branches()}

    def asks_again(self) -> bool:
        return True

    def plan(self, moment: Any) -> Sequence[Branch]:
        """Nothing at first: where the source is, `follow` is told."""
        return []

    def follow(self, predictions: Mapping[str, Mapping[str, Tensor]], here: Mapping[str, Here]) -> Sequence[Branch]:
        if "source" not in predictions:

            def along(state: "State") -> "State":
                return state.with_values({name: _there(each, state[name].values) for name, each in here.items()})

            return [Branch("source", "source", hooks=(self.attention,), sees=along)]
        moment = next(iter(here.values())).moment
        heard = {name: prediction for name, prediction in predictions.items() if name != "source"}
        more = self.of.plan(moment) if not heard else self.of.follow(heard, here)
        return [replace(branch, hooks=(*branch.hooks, self.attention)) for branch in more]

    def combine(self, predictions: Mapping[str, Tensor], here: Here) -> Tensor:
        return self.of.combine({name: prediction for name, prediction in predictions.items() if name != "source"}, here)


def _there(here: Here, values: Tensor) -> Tensor:
    """The tokens of the trail at this step, given ones as they are."""
    if "trail" not in here.measured:
        return values
    places = here.moment.steps - here.moment.step
    trail = here.measured["trail"][torch.arange(len(places), device=places.device), places]
    return values.where(here.keep[..., None], trail[:, : values.shape[1]])
