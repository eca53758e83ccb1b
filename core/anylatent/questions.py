"""What walks ask a denoiser, as rows of a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from anylatent.condition import Condition
from anylatent.guidance.base import Branch
from anylatent.hooks.base import HookedSites, Store, Visit
from anylatent.state import State, Stream, Tally
from anylatent.types import Int, Tensor
from anylatent.walk import Walk


@dataclass
class Question:
    """What one walk asks under one branch: its rows within a batch."""

    walk: Walk
    branch: Branch
    index: Int[Tensor, " chosen"]
    whole: bool = field(init=False)
    places: Mapping[str, Int[Tensor, "chosen seen"]] = field(init=False, default_factory=dict)
    """Where the tokens that it sees are among the lane's, of streams that it sees only some tokens of."""

    def __post_init__(self) -> None:
        self.whole = len(self.index) == len(self.walk.lane)

    def state(self) -> State:
        state = self.walk.without(self.walk.state(), self.branch.absent)
        if self.branch.sees is None:
            return state if self.whole else state.select(self.index)
        before, state = state, self.branch.sees(state)
        fewer = [name for name, stream in state.streams.items() if not torch.equal(stream.mask, before[name].mask)]
        state = state if self.whole else state.select(self.index)
        self.places = {name: _seen(state[name]) for name in fewer}
        return replace(state, streams={name: self._gathered(name, stream) for name, stream in state.streams.items()})

    def _gathered(self, name: str, stream: Stream) -> Stream:
        """The tokens that are seen, without the others: what is not seen is not paid for."""
        if name not in self.places:
            return stream
        rows = torch.arange(len(self.index), device=self.index.device)[:, None]
        return stream.map(lambda x: x[rows, self.places[name]])

    def condition(self) -> Condition:
        condition = self.walk.lane.conditions[self.branch.denoiser][self.branch.condition]
        return condition if self.whole else condition.select(self.index)

    def hooks(self) -> tuple[Any, ...]:
        """The request's, then the branch's."""
        return (*self.walk.lane.sampling.hooks, *self.branch.hooks)

    def ids(self) -> Int[Tensor, " chosen"]:
        return self.walk.lane.state.rows[self.index]

    def where(self) -> tuple[Tensor, Tensor, Tensor]:
        """Step, steps and time of each row."""
        return self.walk.lane.step[self.index], self.walk.lane.steps[self.index], self.walk.moment().time[self.index]

    def spread(self, x: Tensor, name: str) -> Tensor:
        """The prediction, laid out as the lane: its tokens, zeros in rows that were not asked."""
        like = self.walk.values[name]
        if name in self.places:
            places = self.places[name]
            x = like.new_zeros(len(x), *like.shape[1:]).scatter(1, places[..., None].expand(-1, -1, like.shape[2]), x[:, : places.shape[1]])
        x = x[:, : like.shape[1]]
        return x if self.whole else torch.zeros_like(like).index_copy(0, self.index, x)


def hooked(questions: Sequence[Question], store: Store, tally: Callable[[str], Tally]) -> HookedSites | None:
    """The sites of a batch of questions with their hooks, outermost first; None without any."""
    hooks = {hook.key(): hook for question in questions for hook in question.hooks()}
    if not hooks:
        return None
    addresses = [(row, question.branch.name) for question in questions for row in question.ids().tolist()]
    step, steps, time = (torch.cat(columns) for columns in zip(*(question.where() for question in questions), strict=True))
    visits = []
    for key, hook in sorted(hooks.items(), key=lambda item: item[1].order):
        asked = [any(h.key() == key for h in question.hooks()) for question in questions for _ in question.index]
        visits.append((hook, Visit(addresses, torch.tensor(asked, device=step.device), step, steps, time, store, tally(hook.kind))))
    return HookedSites(visits)


def _seen(stream: Stream) -> Int[Tensor, "rows seen"]:
    """The places of each row's tokens, in their order, then as many of its padding's as the longest row needs."""
    return (~stream.mask).int().argsort(dim=1, stable=True)[:, : max(int(stream.mask.sum(1).max()), 1)]
