"""The walk of a lane's rows through one step, and what it asks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from anylatent.denoiser import Denoiser
from anylatent.energies import Decode, Energy
from anylatent.guidance.base import Branch
from anylatent.guidance.none import Unguided
from anylatent.hooks.base import Store
from anylatent.lanes import TOLD, Lane
from anylatent.moment import Here, Moment
from anylatent.moves import moved
from anylatent.nn.sites import Site
from anylatent.perception.token_classifier import TokenClassifier
from anylatent.solvers.base import Judge, Memory, Move, Query, Steps
from anylatent.spec import StreamSpec
from anylatent.state import State, Tally
from anylatent.types import Bool, Float, Int, Tensor


class Walk:
    """One lane on its way through one step: a solver's generator a stream, and what they ask for now."""

    def __init__(
        self, lane: Lane, denoiser: Denoiser, tally: Callable[[str], Tally], store: Store, decode: Decode | None = None,
        classifiers: Mapping[str, TokenClassifier] | None = None,
    ) -> None:  # fmt: skip
        self.lane, self.denoiser, self._tally, self._store, self._decode = lane, denoiser, tally, store, decode
        self._classifiers = classifiers or {}
        self.queries: dict[str, Query] = {}
        self.values = {name: stream.values for name, stream in lane.state.streams.items()}
        self.memory: dict[str, Memory] = {}
        self.recall = {method: dict(by_stream) for method, by_stream in lane.recall.items()}
        self.gradient = any(correction.gradient for correction in lane.sampling.corrections)
        """Whether predictions are differentiated by the tokens they are made from."""
        self._steps: dict[str, Steps] = {}
        self._asked: dict[str, Query] = {}
        self._said: Mapping[str, Tensor] = {}
        self._slopes: dict[tuple[str, bytes, str, float], Mapping[str, Tensor]] = {}
        self._predicted: dict[str, Tensor] = {}
        self._heard = False
        self._rows, self._place = torch.arange(len(lane), device=lane.state.device), lane.place()
        self._between = {name: (self._at(times)[..., None], self._at(times, 1)[..., None]) for name, times in lane.times.items()}
        for spec in denoiser.specs:
            if spec.given:  # it does not move: its solver has nothing to ask or choose
                self.memory[spec.name] = lane.memory[spec.name]
                continue
            self._steps[spec.name] = moved(
                lane.sampling.solver_of(spec.name),
                self.values[spec.name],
                lane.memory[spec.name],
                self._move(spec),
                rests=lane.manner.rests,
                reflects=lane.sampling.schedule_of(spec.name).reflects,
                inverted=lane.manner.inverted,
            )
            self._advance(spec.name, None)
        self._rising = self._risen() if lane.manner.rests else None
        self._ask()

    def _risen(self) -> Bool[Tensor, " rows"] | None:
        """Counts the rows whose times rise, and tells those that are asked on their way up."""
        asked = []
        for name, (t, s) in self._between.items():
            rises, schedule = (s > t).flatten(1).any(1), self.lane.sampling.schedule_of(name)
            if schedule.reflects:
                asked.append(rises)
            else:
                self._tally(schedule.kind).add("renoised", self.lane.state.rows[rises])
        rising = torch.stack(asked).any(0) if asked else None
        if rising is not None:
            self._tally(self.lane.sampling.guidance.kind).add("reflected", self.lane.state.rows[rising])
        return rising

    def _move(self, spec: StreamSpec) -> Move:
        lane, name, path = self.lane, spec.name, self.denoiser.path(spec.name)

        def noise(draw: int, purpose: str = "") -> Tensor:
            if draw == 0 and not purpose and name in lane.recorded:
                return self._at(lane.recorded[name])
            return path.prior(spec, lane.state.noise(name, lane.step, draw, purpose), lane.state[name].mask)

        def count(kind: str, name: str, amounts: Float[Tensor, " rows"]) -> None:
            rows = amounts > 0
            self._tally(kind).add(name, lane.state.rows[rows], amounts[rows])

        return Move(path, *self._between[name], self._at(lane.tables[name]), noise, count, self._judge(spec))

    def _judge(self, spec: StreamSpec) -> Judge:
        def judge(energy: Energy, x: Tensor, rows: Tensor) -> Tensor:
            index = rows.nonzero()[:, 0]
            state = self.lane.state.with_values({name: self._settled(name, x) for name, x in {**self._said, spec.name: x}.items()})
            found = energy.of_state(state.select(index), [spec], self._decode)
            return torch.full((len(rows),), torch.inf, device=x.device).index_copy(0, index, found.float())

        return judge

    def _settled(self, name: str, x: Float[Tensor, "rows tokens width"]) -> Tensor:
        """Clean tokens with given (and absent) ones as they came, padding zero."""
        stream = self.lane.state[name]
        held = (stream.keep | (stream.time == 1))[..., None]
        return torch.where(held, self.lane.given[name], x) * stream.mask[..., None]

    def _at(self, table: Float[Tensor, "rows steps *rest"], ahead: int = 0) -> Float[Tensor, "rows *rest"]:
        """Each row's entry of its own step."""
        return table[self._rows, self._place + ahead if ahead else self._place]

    def _ends(self, name: str) -> Float[Tensor, "rows #tokens 1"]:
        """The time at which each row's step arrives."""
        return self._between[name][0 if self.lane.manner.inverted else 1]

    def _advance(self, name: str, answer: Tensor | None) -> None:
        try:
            self.queries[name] = next(self._steps[name]) if answer is None else self._steps[name].send(answer)
        except StopIteration as stop:
            self.values[name], self.memory[name] = stop.value
            self.queries.pop(name, None)

    def _ask(self) -> None:
        """Where a stream has nothing to ask any more, the others see it where it has arrived."""
        self._slopes = {}
        self._asked = {name: self.queries.get(name) or Query(x, self._ends(name)) for name, x in self.values.items()}
        if self.gradient:
            self._asked = {name: replace(query, x=query.x.detach().requires_grad_()) for name, query in self._asked.items()}

    def send(self, answers: Mapping[str, Tensor]) -> None:
        """Give each asking stream its prediction."""
        rows = self.asking()[:, None, None]
        self._said = {name: torch.where(rows, x, self._said.get(name, x)) for name, x in answers.items()}
        for name in list(self.queries):
            self._advance(name, answers[name])
        self._ask()

    def moment(self) -> Moment:
        """Where the rows are; the time is the latest that a row is asked at."""
        time = torch.stack([query.t.flatten(1).amax(1) for query in self._asked.values()]).amax(0)
        return Moment(time, self.lane.step, self.lane.steps, self._rising)

    def asking(self) -> Bool[Tensor, " rows"]:
        """The rows that need an answer, in some stream."""
        asked = [query.rows for query in self.queries.values()]
        if all(rows is not None for rows in asked):
            return torch.stack([rows for rows in asked if rows is not None]).any(0)
        return torch.ones(len(self.lane), dtype=torch.bool, device=self.lane.state.device)

    def rows(self, branch: Branch) -> Int[Tensor, " chosen"]:
        """Indices of the rows that ask and whom the branch is for."""
        wanted = self.asking()
        return (wanted if branch.rows is None else wanted & branch.rows).nonzero()[:, 0]

    def state(self) -> State:
        """The lane's state as it is asked: values and times of the queries, given tokens in their place."""
        lane, state = self.lane, self.lane.state
        always = {spec.name for spec in self.denoiser.specs if spec.given}
        for name, query in self._asked.items():
            stream, path, t = state[name], self.denoiser.path(name), query.t.expand(-1, state[name].shape[1], 1)
            absent = (stream.time == 1)[..., None]
            given, noised = lane.given[name], lane.manner.noised and name not in always
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
        return state.with_told({name: memory["told"] for name, memory in self.recall.get(TOLD, {}).items()})

    def without(self, state: State, absent: Sequence[str]) -> State:
        """The state with nothing of some streams: the prior at time 1 in their place."""
        for name in absent:
            stream = state[name]
            prior = self.denoiser.path(name).corrupt(
                torch.zeros_like(stream.values), self.lane.noise[name], torch.ones_like(stream.time[..., None])
            )
            state = state.with_values({name: prior}).with_kept(name, torch.zeros_like(stream.keep))
            state = state.with_time({name: torch.ones_like(stream.time)}).with_told({name: None})
        return state

    def here(self, method: str, kind: str, spec: StreamSpec, moment: Moment) -> Here:
        """What a method is told of a stream; what it remembers of it, to be read and written."""
        lane, query, stream, tally = self.lane, self._asked[spec.name], self.lane.state[spec.name], self._tally

        def count(name: str, rows: Tensor, amount: float = 1.0) -> None:
            tally(kind).add(name, lane.state.rows[rows], amount)

        def noise(draw: int) -> Tensor:
            drawn = lane.state.noise(spec.name, lane.step, draw, f"{kind}/{method}")
            return self.denoiser.path(spec.name).prior(spec, drawn, stream.mask)

        def noted(name: str, site: Site, branch: str) -> dict[int, Tensor]:
            found = ((index, self._store.item(name, site, (row, branch))) for index, row in enumerate(lane.state.rows.tolist()))
            return {index: self._share(spec, index, item) for index, item in found if item is not None}

        def slope(condition: str, rows: Tensor, predicted: bool = False, marginal: float = 1.0) -> Tensor:
            return self._slope(kind, condition, rows, method if predicted else "", marginal)[spec.name]

        return Here(
            spec=spec,
            path=self.denoiser.path(spec.name),
            x=query.x,
            t=query.t,
            mask=stream.mask,
            keep=stream.keep,
            positions=stream.positions,
            moment=moment,
            rows=self.asking(),
            s=self._ends(spec.name),
            measured=lane.measured.get(spec.name, {}),
            memory=dict(self.recall.get(method, {}).get(spec.name, {})),
            count=count,
            noise=noise,
            noted=noted,
            classes=lane.classes,
            slope=slope,
        )

    def _slope(self, kind: str, condition: str, rows: Bool[Tensor, " rows"], method: str, marginal: float) -> Mapping[str, Tensor]:
        """A classifier's gradient by the noised tokens of all streams, in one backward pass: of those, or of what is predicted of them
        when a `method` asks.
        """
        key = condition, rows.cpu().numpy().tobytes(), method, marginal
        if key not in self._slopes:
            state = self._clean(self.state()) if method else self.state()
            slopes = self._classifiers[condition].slopes(state, self.lane.classes[condition], rows, marginal)
            self._slopes[key] = self._through(slopes) if method else slopes
            self._tally(kind).add("gradients", self.lane.state.rows[rows])
        return self._slopes[key]

    def _clean(self, state: State) -> State:
        """What is predicted in place of noised tokens, at time 0; given tokens, and the prior of absent streams, as they are."""
        for name, x in self._predicted.items():
            absent, keep = self.lane.state[name].time == 1, self.lane.state[name].keep
            clean = torch.where(keep[..., None], self.lane.given[name], x.detach())
            state = state.with_values({name: torch.where(absent[..., None], state[name].values, clean)})
            state = state.with_kept(name, keep).with_time({name: absent.float()})
        return state

    def _through(self, slopes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The transposed Jacobian of all streams' predictions by their noised tokens, times a slope by the predictions."""
        said = {name: x for name, x in self._predicted.items() if x.requires_grad}
        noised = {name: self._asked[name].x for name in slopes}
        made = [slopes[name] * (~self.lane.state[name].keep & (self.lane.state[name].time < 1))[..., None] for name in said]
        found = torch.autograd.grad(list(said.values()), list(noised.values()), made, retain_graph=True, allow_unused=True)
        return {name: torch.zeros_like(x) if slope is None else slope for (name, x), slope in zip(noised.items(), found, strict=True)}

    def _share(self, spec: StreamSpec, row: int, item: Float[Tensor, "tokens width"]) -> Float[Tensor, "own width"]:
        """A stream's own of a row's valid tokens at a site: prepended ones come first, then all streams in order, this one's among them."""
        sizes = [int(self.lane.state[other.name].mask[row].sum()) for other in self.denoiser.specs]
        place = [other.name for other in self.denoiser.specs].index(spec.name)
        last = len(item) - sum(sizes[place + 1 :])
        return item[last - sizes[place] : last]

    def heres(self, moment: Moment) -> dict[str, Here]:
        """What the guidance is told of each stream."""
        return {spec.name: self.here("guidance", self.lane.sampling.guidance.kind, spec, moment) for spec in self.denoiser.specs}

    def combine(self, predictions: Mapping[str, Mapping[str, Tensor]], moment: Moment, branches: Sequence[Branch]) -> Mapping[str, Tensor]:
        """Guidance and corrections, a stream; a branch has no say in the streams that it does without."""
        data, sampling = {}, self.lane.sampling
        if type(sampling.guidance) is Unguided and not sampling.corrections:
            return predictions["asked"]
        for spec in self.denoiser.specs:
            mine = {
                branch.name: predictions[branch.name][spec.name]
                for branch in branches
                if branch.name in predictions and spec.name not in branch.absent
            }
            here = self.here("guidance", sampling.guidance.kind, spec, moment)
            data[spec.name] = here.path.mixed(mine, lambda natural, here=here: sampling.guidance.combine(natural, here))
            self._remember("guidance", here)
            if len(mine) > 1:
                here.count("changed", _apart(data[spec.name], mine.get("asked")) & here.rows, 1)
        for index, correction in enumerate(sampling.corrections):
            self._predicted, data = data, {}
            for spec in self.denoiser.specs:
                here, before = self.here(str(index), correction.kind, spec, moment), self._predicted[spec.name]
                data[spec.name] = correction.correct(before, here)
                self._remember(str(index), here)
                here.count("changed", _apart(data[spec.name], before) & here.rows, 1)
        return {name: x.detach() for name, x in data.items()}

    def hear(self, answer: Mapping[str, Tensor]) -> None:
        """Keep what came of the step's first question, for a denoiser that is told of it at its next: it was of the rows' own tokens."""
        if TOLD not in self.recall or self._heard:
            return
        self._heard, streams = True, self.lane.state.streams
        told = self.denoiser.heard(answer, {name: stream.mask & (stream.time < 1) for name, stream in streams.items()})
        rows = self.asking()[:, None, None]
        before = self.recall[TOLD]
        self.recall[TOLD] = {name: {"told": torch.where(rows, x.detach(), before[name]["told"])} for name, x in told.items()}

    def _forgotten(self) -> None:
        """What was said of tokens that are noised again told more than what is left of them: it is not told again."""
        for name, (t, s) in self._between.items():
            kept = torch.where(s > t, 0.0, self.recall[TOLD][name]["told"])
            self.recall[TOLD][name] = {"told": kept}

    def _remember(self, method: str, here: Here) -> None:
        """Rows that did not ask remember what they did."""
        if not here.memory:
            return
        before = self.recall[method][here.spec.name]
        kept = {name: torch.where(_wide(here.rows, x), x.detach(), before[name]) for name, x in here.memory.items()}
        self.recall[method][here.spec.name] = kept

    def arrived(self) -> Lane:
        """The lane one step on: given (and absent) tokens as they came, padding zero."""
        lane = self.lane
        if lane.manner.rests and TOLD in self.recall:
            self._forgotten()
        values = {name: self._settled(name, x) for name, x in self.values.items()}
        for name, trail in lane.trail.items():
            trail[self._rows, lane.step + 1] = values[name]
        return replace(lane, state=lane.state.with_values(values), memory=self.memory, recall=self.recall, step=lane.step + 1)


def _apart(data: Float[Tensor, "rows tokens width"], before: Tensor | None) -> Bool[Tensor, " rows"]:
    """The rows that a method changed; where it made all of them out of others' predictions, all."""
    if before is None:
        return torch.ones(len(data), dtype=torch.bool, device=data.device)
    return (data != before).flatten(1).any(1)


def _wide(rows: Bool[Tensor, " rows"], like: Tensor) -> Tensor:
    """A mask of rows that broadcasts against a tensor with a leading row axis."""
    return rows.reshape(-1, *([1] * (like.dim() - 1)))
