"""Lanes: rows that move alike, each at its own step of its own times; and their walk through one step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from anylatent.condition import Condition
from anylatent.denoiser import Denoiser
from anylatent.guidance.base import Branch, Moment
from anylatent.sampling import Sampling
from anylatent.solvers.base import Memory, Move, Query, Steps
from anylatent.state import State
from anylatent.types import Float, Int, Tensor


@dataclass
class Lane:
    """Rows that move alike. Every tensor has a leading row axis; rows join by `cat` and leave by `select`."""

    sampling: Sampling
    noised: bool
    state: State
    given: dict[str, Tensor]
    noise: dict[str, Tensor]
    memory: dict[str, Memory]
    times: dict[str, Float[Tensor, "rows times"]]
    tables: dict[str, Float[Tensor, "rows steps #tokens numbers"]]
    step: Int[Tensor, " rows"]
    steps: Int[Tensor, " rows"]
    asked: dict[str, Condition]
    null: dict[str, Condition]
    """What is asked, and the null, as each model encodes it; without conditions there is no null."""

    def __len__(self) -> int:
        return len(self.state)

    def select(self, rows: Tensor) -> "Lane":
        def pick(tree: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: x[rows] for name, x in tree.items()}

        return Lane(
            self.sampling, self.noised, self.state.select(rows), pick(self.given), pick(self.noise),
            {name: pick(memory) for name, memory in self.memory.items()}, pick(self.times), pick(self.tables),
            self.step[rows], self.steps[rows],
            {name: condition.select(rows) for name, condition in self.asked.items()},
            {name: condition.select(rows) for name, condition in self.null.items()},
        )  # fmt: skip

    @staticmethod
    def cat(lanes: "Sequence[Lane]") -> "Lane":
        def join(trees: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
            return {name: _cat_padded([tree[name] for tree in trees]) for name in trees[0]}

        first = lanes[0]
        return Lane(
            first.sampling, first.noised, State.cat([lane.state for lane in lanes]), join([lane.given for lane in lanes]),
            join([lane.noise for lane in lanes]),
            {name: join([lane.memory[name] for lane in lanes]) for name in first.memory},
            join([lane.times for lane in lanes]), join([lane.tables for lane in lanes]),
            torch.cat([lane.step for lane in lanes]), torch.cat([lane.steps for lane in lanes]),
            {name: Condition.cat([lane.asked[name] for lane in lanes]) for name in first.asked},
            {name: Condition.cat([lane.null[name] for lane in lanes]) for name in first.null},
        )  # fmt: skip

    def now(self, stream: str, ahead: int = 0) -> Float[Tensor, "rows 1 1"]:
        """The time of each row, or the one `ahead` steps on."""
        return self.times[stream].gather(1, (self.step + ahead)[:, None])[:, :, None]


class Walk:
    """One lane on its way through one step: a solver's generator a stream, and what they ask for now."""

    def __init__(self, lane: Lane, denoiser: Denoiser) -> None:
        self.lane, self.denoiser = lane, denoiser
        self.queries: dict[str, Query] = {}
        self.values = {name: stream.values for name, stream in lane.state.streams.items()}
        self.memory: dict[str, Memory] = {}
        self._steps: dict[str, Steps] = {}
        self._asked: dict[str, Query] = {}
        for spec in denoiser.specs:
            self._steps[spec.name] = lane.sampling.solver_of(spec.name).step(
                self.values[spec.name], lane.memory[spec.name], self._move(spec.name)
            )
            self._advance(spec.name, None)
        self._ask()

    def _move(self, name: str) -> Move:
        lane, path = self.lane, self.denoiser.path(name)
        spec = next(spec for spec in self.denoiser.specs if spec.name == name)
        table = _at(lane.tables[name], lane.step)

        def noise(draw: int) -> Tensor:
            return path.prior(spec, lane.state.noise(name, lane.step, draw), lane.state[name].mask)

        return Move(path, lane.now(name), lane.now(name, 1), lane.step, table, noise)

    def _advance(self, name: str, answer: Tensor | None) -> None:
        try:
            self.queries[name] = next(self._steps[name]) if answer is None else self._steps[name].send(answer)
        except StopIteration as stop:
            self.values[name], self.memory[name] = stop.value
            self.queries.pop(name, None)

    def _ask(self) -> None:
        """Where a stream has nothing to ask any more, the others see it where it has arrived."""
        self._asked = {name: self.queries.get(name) or Query(x, self.lane.now(name, 1)) for name, x in self.values.items()}

    def send(self, answers: Mapping[str, Tensor]) -> None:
        """Give each asking stream its prediction."""
        for name in list(self.queries):
            self._advance(name, answers[name])
        self._ask()

    def time(self) -> Float[Tensor, " rows"]:
        """The latest time that a row is asked at."""
        return torch.stack([query.t.flatten(1).amax(1) for query in self._asked.values()]).amax(0)

    def rows(self, branch: Branch) -> Int[Tensor, " chosen"]:
        """Indices of the rows that ask and whom the branch is for."""
        asked = [query.rows for query in self.queries.values()]
        wanted = torch.ones(len(self.lane), dtype=torch.bool, device=self.lane.state.device)
        if all(rows is not None for rows in asked):
            wanted = torch.stack([rows for rows in asked if rows is not None]).any(0)
        return (wanted if branch.rows is None else wanted & branch.rows).nonzero()[:, 0]

    def state(self) -> State:
        """The lane's state as it is asked: values and times of the queries, given tokens in their place."""
        lane, state = self.lane, self.lane.state
        always = {spec.name for spec in self.denoiser.specs if spec.given}
        for name, query in self._asked.items():
            stream, path, t = state[name], self.denoiser.path(name), query.t.expand(-1, state[name].shape[1], 1)
            absent = (stream.time == 1)[..., None]
            given, noised = lane.given[name], lane.noised and name not in always
            if noised:
                given = path.corrupt(given, lane.noise[name], t)
            x = torch.where(stream.keep[..., None], given, query.x)
            if absent.any():
                t = torch.where(absent, 1.0, t)
                x = torch.where(absent, path.corrupt(torch.zeros_like(x), lane.noise[name], t), x)
            state = state.with_values({name: x})
            if noised:
                state = state.with_kept(name, torch.zeros_like(stream.keep))
            state = state.with_time({name: t[..., 0]})
        return state

    def without(self, state: State, absent: Sequence[str]) -> State:
        """The state with nothing of some streams: the prior at time 1 in their place."""
        for name in absent:
            stream = state[name]
            prior = self.denoiser.path(name).corrupt(
                torch.zeros_like(stream.values), self.lane.noise[name], torch.ones_like(stream.time[..., None])
            )
            state = state.with_values({name: prior}).with_kept(name, torch.zeros_like(stream.keep))
            state = state.with_time({name: torch.ones_like(stream.time)})
        return state

    def combine(self, predictions: Mapping[str, Mapping[str, Tensor]], moment: Moment, branches: Sequence[Branch]) -> dict[str, Tensor]:
        """Guidance and corrections, a stream; a branch has no say in the streams that it does without."""
        out = {}
        for name, query in self._asked.items():
            mine = {
                branch.name: predictions[branch.name][name]
                for branch in branches
                if branch.name in predictions and name not in branch.absent
            }
            data = self.lane.sampling.guidance.combine(mine, moment)
            for correction in self.lane.sampling.corrections:
                data = correction.correct(data, query.x, query.t)
            out[name] = data
        return out

    def arrived(self) -> Lane:
        """The lane one step on: given (and absent) tokens as they came, padding zero."""
        lane = self.lane
        values = {}
        for name, x in self.values.items():
            stream = lane.state[name]
            held = (stream.keep | (stream.time == 1))[..., None]
            values[name] = torch.where(held, lane.given[name], x) * stream.mask[..., None]
        return replace(lane, state=lane.state.with_values(values), memory=self.memory, step=lane.step + 1)


@dataclass
class Part:
    """The rows of one walk and one branch within a batch."""

    walk: Walk
    branch: Branch
    index: Int[Tensor, " chosen"]
    whole: bool = field(init=False)

    def __post_init__(self) -> None:
        self.whole = len(self.index) == len(self.walk.lane)

    def state(self) -> State:
        state = self.walk.without(self.walk.state(), self.branch.absent)
        return state if self.whole else state.select(self.index)

    def condition(self) -> Condition:
        lane = self.walk.lane
        condition = (lane.asked if self.branch.condition == "asked" else lane.null)[self.branch.model]
        return condition if self.whole else condition.select(self.index)

    def ids(self) -> Int[Tensor, " chosen"]:
        return self.walk.lane.state.rows[self.index]

    def where(self) -> tuple[Tensor, Tensor, Tensor]:
        """Step, steps and time of each row."""
        return self.walk.lane.step[self.index], self.walk.lane.steps[self.index], self.walk.time()[self.index]

    def spread(self, x: Tensor, name: str) -> Tensor:
        """The prediction, laid out as the lane: its tokens, zeros in rows that were not asked."""
        like = self.walk.values[name]
        x = x[:, : like.shape[1]]
        return x if self.whole else torch.zeros_like(like).index_copy(0, self.index, x)


def _at(table: Float[Tensor, "rows steps *rest"], step: Int[Tensor, " rows"]) -> Float[Tensor, "rows *rest"]:
    """Each row's entry of its own step."""
    return table[torch.arange(len(step), device=step.device), step]


def _cat_padded(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate along rows, padding all other axes with zeros to the largest."""
    if len(tensors) == 1:
        return tensors[0]
    sizes = [max(x.shape[axis] for x in tensors) for axis in range(1, tensors[0].dim())]
    padded = []
    for x in tensors:
        pads = [amount for axis in range(x.dim() - 1, 0, -1) for amount in (0, sizes[axis - 1] - x.shape[axis])]
        padded.append(torch.nn.functional.pad(x, pads) if any(pads) else x)
    return torch.cat(padded)
