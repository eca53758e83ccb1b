"""The engine: rows in, samples out. The only denoising loop there is.

Rows that agree on solver, guidance and hooks move in one *lane*, each at its own step of its own times; all lanes'
predictions are made in one batch. Requests join and leave at any step.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from anylatent.condition import Condition
from anylatent.denoiser import Denoiser, ModulationCache
from anylatent.guidance.base import Branch, Moment
from anylatent.hooks.base import HookedSites, Store, Visit
from anylatent.lanes import Lane, Part, Walk
from anylatent.sampling import Sampling
from anylatent.state import Receipt, State, Tally
from anylatent.types import Bool, Tensor


@dataclass(frozen=True)
class Request:
    """Rows to make: an empty (or partly given) state, what they are asked to be, and how they are sampled.

    `state.keep` tokens hold given clean values; they are kept as clean tokens of time 0, or with `noised` (for a
    denoiser that was not trained to complete) as tokens noised to each step's time. Tokens whose time is 1 are absent:
    they are not made, and the others see the prior in their place at every step. `begin` < 1 starts from the state's
    clean values noised to that time instead of from the prior.
    """

    state: State
    condition: Condition
    sampling: Sampling
    null: Condition | None = None
    begin: float = 1.0
    noised: bool = False
    beside: Mapping[str, tuple[Condition, Condition | None]] = field(default_factory=dict)
    """The same condition and null as the engine's other denoisers encode them, by name."""


@dataclass(frozen=True)
class Finished:
    """A row that is done: its id, its clean state (one row), and what each method did for it."""

    row: int
    state: State
    receipts: Mapping[str, Mapping[str, float]]


class Engine:
    """Moves rows of one denoiser: `add` requests at any time, `step` all rows once, take what is finished.

    `rows`: how many move at once; others wait. `budget`: bytes that hooks may remember. `others`: denoisers of the same
    streams that guidance may ask as well (a weaker one, say), by name.
    """

    def __init__(self, denoiser: Denoiser, rows: int = 64, budget: int = 1 << 30, others: Mapping[str, Denoiser] | None = None) -> None:
        self.denoiser, self.capacity = denoiser, rows
        self.denoisers = {"main": denoiser, **(others or {})}
        self.device = next(denoiser.parameters()).device
        self.modulations = {name: ModulationCache(each.backbone) for name, each in self.denoisers.items()}
        self.store = Store(budget)
        self.tallies: dict[str, Tally] = {}
        self._waiting: deque[tuple[str, Lane]] = deque()
        self._lanes: dict[str, Lane] = {}
        self._next = 0

    # --- requests ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def add(self, request: Request) -> list[int]:
        """Queue a request; the ids of its rows. Errors: `ValueError` if its methods do not suit each other or the denoiser."""
        self._check(request)
        ids = list(range(self._next, self._next + len(request.state)))
        self._next += len(ids)
        lane = self._lane(request, ids)
        self._waiting.append((self._key(request), lane))
        return ids

    def cancel(self, row: int) -> bool:
        """Forget a row, waiting or moving. Whether there was one."""
        before = len(self)
        others = ((key, lane.select(lane.state.rows != row)) for key, lane in self._waiting)
        self._waiting = deque((key, lane) for key, lane in others if len(lane))
        for key, lane in list(self._lanes.items()):
            self._keep(key, lane.state.rows != row)
        self.store.forget(row)
        return len(self) < before

    def __len__(self) -> int:
        """Rows that are waiting or moving."""
        return sum(len(lane) for lane in (*self._lanes.values(), *(lane for _, lane in self._waiting)))

    def stream(self) -> Iterator[Finished]:
        """Step until no row is left, handing out rows as they finish."""
        while len(self):
            yield from self.step()

    def _check(self, request: Request) -> None:
        paths = {spec.name: self.denoiser.path(spec.name) for spec in self.denoiser.specs}
        backbone = self.denoiser.backbone
        refusals = request.sampling.refusals(paths, backbone.sites, type(backbone).__name__, request.null is not None)
        for name in request.sampling.guidance.models():
            if name not in self.denoisers or name not in request.beside:
                kind, known = (
                    request.sampling.guidance.kind,
                    sorted(set(self.denoisers) & set(request.beside)) or "none besides the main one",
                )
                refusals.append(f"guidance '{kind}' asks the denoiser '{name}': this engine and request have {known}")
        if refusals:
            raise ValueError("; ".join(refusals))

    def _key(self, request: Request) -> str:
        alike = request.sampling.model_copy(update={"count": 1, "steps": 1, "seed": 0, "batch": 1, "weights": ""})
        slots = (request.null is None, request.condition.cross is None, request.condition.prepend is None, sorted(request.beside))
        return f"{alike.key()} {slots} {request.noised}"

    def _lane(self, request: Request, ids: list[int]) -> Lane:
        sampling, state = request.sampling, request.state.to(self.device)
        rows = len(ids)
        times, tables, noise, memory, begun = {}, {}, {}, {}, {}
        for spec in self.denoiser.specs:
            name, path, stream = spec.name, self.denoiser.path(spec.name), state[spec.name]
            start = min(request.begin, path.start(self.denoiser.corruptions[name].prediction))
            steps = sampling.schedule_of(name).times(sampling.steps, path, start)
            solver = sampling.solver_of(name)
            times[name] = steps.float().to(self.device).expand(rows, -1)
            tables[name] = solver.table(path, steps).float().to(self.device)[None, :, None].expand(rows, -1, -1, -1)
            noise[name] = path.prior(spec, state.noise(name, -1, 0), stream.mask)
            clean = stream.values if request.begin < 1 else torch.zeros_like(stream.values)
            begun[name] = path.corrupt(clean, noise[name], times[name][:, :1, None])
            memory[name] = solver.memory(stream.values)
            if spec.given:
                state = state.with_kept(name, stream.mask)
        given = {name: state[name].values for name in begun}
        encoded = {"main": (request.condition, request.null), **request.beside}
        asked = {name: self._prepare(name, times, condition) for name, (condition, _) in encoded.items()}
        null = {name: self._prepare(name, times, condition) for name, (_, condition) in encoded.items() if condition is not None}
        count = torch.full((rows,), sampling.steps, device=self.device)
        state = replace(state.with_values(begun), rows=torch.tensor(ids, device=self.device))
        return Lane(sampling, request.noised, state, given, noise, memory, times, tables, torch.zeros_like(count), count, asked, null)

    def _prepare(self, model: str, times: Mapping[str, Tensor], condition: Condition) -> Condition:
        """Modulations of all steps x distinct conditions, in one product."""
        entered = self.modulations[model].enter(condition)
        levels = torch.cat([self.denoisers[model].path(name).level(row[0]) for name, row in times.items()])
        self.modulations[model].prepare(entered, levels)
        return entered

    # --- one step ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self) -> list[Finished]:
        """Move every row by one step of its own; the rows that this finished."""
        self._admit()
        walks = {key: Walk(lane, self.denoiser) for key, lane in self._lanes.items()}
        while asking := [walk for walk in walks.values() if walk.queries]:
            for walk, answer in zip(asking, self._answer(asking), strict=True):
                walk.send(answer)
        done = []
        for key, walk in walks.items():
            lane = self._lanes[key] = walk.arrived()
            over = lane.step >= lane.steps
            done += [self._finish(lane, i) for i in over.nonzero()[:, 0].tolist()]
            self._keep(key, ~over)
        return sorted(done, key=lambda finished: finished.row)

    def _admit(self) -> None:
        free = self.capacity - sum(len(lane) for lane in self._lanes.values())
        joining: dict[str, list[Lane]] = {}
        while free > 0 and self._waiting:
            key, lane = self._waiting.popleft()
            if len(lane) > free:
                self._waiting.appendleft((key, lane.select(torch.arange(free, len(lane), device=self.device))))
                lane = lane.select(torch.arange(free, device=self.device))
            free -= len(lane)
            joining.setdefault(key, []).append(lane)
        for key, lanes in joining.items():
            self._lanes[key] = Lane.cat([self._lanes[key], *lanes] if key in self._lanes else lanes)

    def _keep(self, key: str, rows: Bool[Tensor, " rows"]) -> None:
        if not rows.any():
            del self._lanes[key]
        elif not rows.all():
            self._lanes[key] = self._lanes[key].select(rows)

    def _finish(self, lane: Lane, i: int) -> Finished:
        state = lane.state.select([i])
        row = int(state.rows[0])
        self.store.forget(row)
        return Finished(row, state, {name: counts for name, tally in self.tallies.items() if (counts := tally.of(row))})

    def _answer(self, walks: "Sequence[Walk]") -> list[dict[str, Tensor]]:
        """The guided, corrected prediction of the clean tokens for each walk's queries, all branches in one batch."""
        parts: list[Part] = []
        plans: list[tuple[Moment, Sequence[Branch]]] = []
        for walk in walks:
            moment = Moment(walk.time(), walk.lane.step)
            branches = walk.lane.sampling.guidance.plan(moment)
            plans.append((moment, branches))
            parts += [Part(walk, branch, walk.rows(branch)) for branch in branches]
        predictions = self._predict([part for part in parts if part.index.numel()])
        answers = []
        for walk, (moment, branches) in zip(walks, plans, strict=True):
            mine = {branch.name: predictions.get((id(walk), branch.name)) for branch in branches}
            answers.append(walk.combine({name: p for name, p in mine.items() if p is not None}, moment, branches))
        return answers

    def _predict(self, parts: Sequence[Part]) -> dict[tuple[int, str], dict[str, Tensor]]:
        """One batch a model."""
        models = dict.fromkeys(part.branch.model for part in parts)
        out: dict[tuple[int, str], dict[str, Tensor]] = {}
        for model in models:
            out |= self._batch(model, [part for part in parts if part.branch.model == model])
        return out

    def _batch(self, model: str, parts: Sequence[Part]) -> dict[tuple[int, str], dict[str, Tensor]]:
        state = State.cat([part.state() for part in parts])
        condition = Condition.cat([part.condition() for part in parts])
        self._count(parts, state)
        clean = self.denoisers[model](state, condition, self._sites(parts), self.modulations[model])
        out, first = {}, 0
        for part in parts:
            rows = slice(first, first + len(part.index))
            first = rows.stop
            out[id(part.walk), part.branch.name] = {name: part.spread(x[rows], name) for name, x in clean.items()}
        return out

    def _count(self, parts: "Sequence[Part]", state: State) -> None:
        tally = self.tallies.setdefault("engine", Tally())
        tokens = torch.stack([stream.mask.sum(1) for stream in state.streams.values()]).sum(0)
        for part, own in zip(parts, tokens.split([len(part.index) for part in parts]), strict=True):
            tally.add("network_calls", part.ids())
            tally.add("tokens", part.ids(), own)
            if part.branch.condition == "null":
                tally.add("guidance_calls", part.ids())

    def _sites(self, parts: "Sequence[Part]") -> HookedSites | None:
        hooks = {hook.key(): hook for part in parts for hook in part.walk.lane.sampling.hooks}
        if not hooks:
            return None
        addresses = [(row, part.branch.name) for part in parts for row in part.ids().tolist()]
        step, steps, time = (torch.cat(columns) for columns in zip(*(part.where() for part in parts), strict=True))
        visits = []
        for key, hook in sorted(hooks.items(), key=lambda item: item[1].order):
            asked = [any(h.key() == key for h in part.walk.lane.sampling.hooks) for part in parts for _ in part.index]
            tally = self.tallies.setdefault(hook.kind, Tally())
            visits.append((hook, Visit(addresses, torch.tensor(asked, device=self.device), step, steps, time, self.store, tally)))
        return HookedSites(visits)


def sample(denoiser: Denoiser, request: Request, rows: int = 64, budget: int = 1 << 30) -> tuple[State, dict[str, Receipt]]:
    """All rows of one request, in order, and the receipts: a loop over an `Engine`."""
    engine = Engine(denoiser, rows, budget)
    engine.add(request)
    finished = sorted(engine.stream(), key=lambda done: done.row)
    state = State.cat([done.state for done in finished])
    return replace(state, rows=request.state.rows.to(state.device)), receipts(finished)


def receipts(finished: Sequence[Finished]) -> dict[str, Receipt]:
    """What each method did for these rows, and in all."""
    out: dict[str, Receipt] = {}
    for done in finished:
        for method, counts in done.receipts.items():
            receipt = out.setdefault(method, Receipt(method))
            receipt.rows[done.row] = dict(counts)
            for name, count in counts.items():
                receipt.counts[name] = receipt.counts.get(name, 0) + count
    return out
