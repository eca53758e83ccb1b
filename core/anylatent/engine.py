"""The engine: rows in, samples out. The only denoising loop there is.

Rows that are sampled alike move in one *lane*, each at its own step of its own times. All lanes' questions of one round are
answered in one batch a denoiser; those that are to be differentiated have their own. Requests join and leave at any step.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from anylatent.condition import Condition
from anylatent.denoiser import Denoiser, ModulationCache
from anylatent.energies import Decode
from anylatent.guidance.base import Branch
from anylatent.hooks.base import Store
from anylatent.known import Known
from anylatent.lanes import TOLD, Lane, Manner, own_steps, widened
from anylatent.moment import Moment
from anylatent.moves import solver_table
from anylatent.paths.base import Path
from anylatent.perception.token_classifier import TokenClassifier
from anylatent.questions import Question, hooked
from anylatent.sampling import Sampling
from anylatent.solvers.base import Memory
from anylatent.state import Receipt, State, Stream, Tally, spent
from anylatent.types import Bool, Int, Tensor
from anylatent.walk import Walk


@dataclass(frozen=True)
class Request:
    """Rows to make: an empty (or partly given) state, what they are asked to be, and how they are sampled.

    `state.keep` tokens hold given clean values; they are kept as clean tokens of time 0, or with `noised` (for a
    denoiser that was not trained to complete) as tokens noised to each step's time. Tokens whose time is 1 are absent:
    they are not made, and the others see the prior in their place at every step. `begin` < 1 starts from the state's
    clean values noised to that time instead of from the prior. `inverted`: from the state's clean values back to the
    prior, by the solver. `trail`: say where rows have been.
    """

    state: State
    condition: Condition
    sampling: Sampling
    null: Condition | None = None
    begin: float = 1.0
    noised: bool = False
    inverted: bool = False
    trail: bool = False
    known: Known = field(default_factory=Known)
    variants: Mapping[str, Condition] = field(default_factory=dict)
    """The other things that the guidance asks, by name."""
    beside: Mapping[str, Mapping[str, Condition]] = field(default_factory=dict)
    """"asked", "null" and the variants as the engine's other denoisers encode them, by the denoiser's name."""
    classes: Mapping[str, Int[Tensor, " rows"]] = field(default_factory=dict)
    """By the conditions of the classifiers that corrections ask: which class each row is to be, -1 for none."""


@dataclass(frozen=True)
class Finished:
    """A row that is done: its id, its clean state (one row), what each method did for it, what its solver remembers, where it was."""

    row: int
    state: State
    receipts: Mapping[str, Mapping[str, float]]
    memory: Mapping[str, Memory] = field(default_factory=dict)
    trail: Mapping[str, Tensor] = field(default_factory=dict)
    """`(1, steps + 1, N, C)` by stream, if the request asked for it."""


class Engine:
    """Moves rows of one denoiser: `add` requests at any time, `step` all rows once, take what is finished.

    `rows`: how many move at once; others wait. `budget`: bytes that hooks may remember. `others`: denoisers of the same
    streams that guidance may ask as well (a weaker one, say), by name. `decode`: the tokenizer's, for energies of decoded samples.
    `classifiers`: what corrections may ask, by condition.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        rows: int = 64,
        budget: int = 1 << 30,
        others: Mapping[str, Denoiser] | None = None,
        decode: Decode | None = None,
        classifiers: Mapping[str, TokenClassifier] | None = None,
    ) -> None:
        self.denoiser, self.capacity, self.decode = denoiser, rows, decode
        self.denoisers = {"main": denoiser, **(others or {})}
        self.classifiers = dict(classifiers or {})
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
        waiting = self._lane(request, ids)
        for method, counts in request.known.spent.items():
            for name, amounts in counts.items():
                self._tally(method).add(name, torch.tensor(ids), amounts)
        self._waiting.append(waiting)
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

    def settled(self) -> list[State]:
        """The moving rows with only the tokens that no step to come changes, the others masked and 0: a state a lane."""
        return [lane.settled() for lane in self._lanes.values()]

    def __len__(self) -> int:
        """Rows that are waiting or moving."""
        return sum(len(lane) for lane in (*self._lanes.values(), *(lane for _, lane in self._waiting)))

    def stream(self) -> Iterator[Finished]:
        """Step until no row is left, handing out rows as they finish."""
        while len(self):
            yield from self.step()

    def _check(self, request: Request) -> None:
        guidance = request.sampling.guidance
        refusals = request.sampling.refusals(self.denoiser, request.null is not None)
        for name in guidance.denoisers():
            if name not in self.denoisers or name not in request.beside:
                known = sorted(set(self.denoisers) & set(request.beside)) or "none besides the main one"
                refusals.append(f"guidance '{guidance.kind}' asks the denoiser '{name}': this engine and request have {known}")
        refusals += request.sampling.undecoded(request.state.to(self.device), self.decode)
        for name in request.sampling.classifiers():
            if name not in self.classifiers or name not in request.classes:
                known = sorted(set(self.classifiers) & set(request.classes)) or "none"
                refusals.append(f"a correction asks the classifier of '{name}': this engine and request have {known}")
        if request.sampling.best_of is not None:
            refusals.append("`best_of` chooses among samples that are done: ask a `RowGenerator`, the engine makes one of each row")
        missing = sorted(set(guidance.variants()) - set(request.variants))
        if missing:
            refusals.append(f"guidance '{guidance.kind}' asks under {missing}: the request has {sorted(request.variants) or 'no variants'}")
        values = {spec.name: request.state[spec.name].values for spec in self.denoiser.specs}
        memory = {name: request.sampling.solver_of(name).memory(x) for name, x in values.items()}
        refusals += request.known.problems({name: tuple(x.shape) for name, x in values.items()}, memory)
        refusals += request.sampling.unmeasured([list(names) for names in request.known.measured.values()])
        if request.inverted:
            refusals += request.sampling.one_way(values)
        if request.inverted and any(denoiser.self_conditioned for denoiser in self.denoisers.values()):
            refusals.append("a self-conditioned denoiser goes by what it said before, not by the tokens alone: that has no way back")
        if refusals:
            raise ValueError("; ".join(refusals))

    def _lane(self, request: Request, ids: list[int]) -> tuple[str, Lane]:
        """The rows of a request as a lane, and the key of the lanes that they may join."""
        sampling, state, known = request.sampling, request.state.to(self.device), request.known.to(self.device)
        times = self._times(request, state)
        steps = next(iter(times.values())).shape[1] - 1
        for name, noise in known.recorded.items():
            if noise.shape[1] != steps:
                raise ValueError(f"`Known.recorded` of stream '{name}' has the noise of {noise.shape[1]} steps: the request makes {steps}")
        tables, noise, memory, begun, recall = {}, {}, {}, {}, {}
        methods = {"guidance": sampling.guidance} | {str(i): correction for i, correction in enumerate(sampling.corrections)}
        for spec in self.denoiser.specs:
            name, path, stream = spec.name, self.denoiser.path(spec.name), state[spec.name]
            solver = sampling.solver_of(name)
            tables[name] = solver_table(solver, path, times[name])
            noise[name] = known.prior.get(name, path.prior(spec, state.noise(name, -1, 0), stream.mask))
            memory[name] = dict(known.memory.get(name, solver.memory(stream.values)))
            begun[name] = known.begun.get(name, self._begun(request, stream, noise[name], times[name], path))
            for method, node in methods.items():
                recall.setdefault(method, {})[name] = node.memory(stream.values)
            if spec.given:
                state = state.with_kept(name, stream.mask)
        if any(denoiser.self_conditioned for denoiser in self.denoisers.values()):
            recall[TOLD] = {name: {"told": torch.zeros_like(x)} for name, x in begun.items()}
        given = {name: state[name].values for name in begun}
        null = {} if request.null is None else {"null": request.null}
        encoded = {"main": {"asked": request.condition, **null, **request.variants}, **request.beside}
        conditions = {
            who: {name: self._prepare(who, times, condition) for name, condition in named.items()} for who, named in encoded.items()
        }
        rows, count = len(ids), own_steps(times, len(ids)).to(self.device)
        lane = Lane(
            manner=Manner(sampling, request.noised, request.inverted, any(bool((t.diff(dim=1) >= 0).any()) for t in times.values())),
            state=replace(state.with_values(begun), rows=torch.tensor(ids, device=self.device)),
            given=given,
            noise=noise,
            memory=memory,
            recall=recall,
            recorded=dict(known.recorded),
            measured={name: {what: widened(x) for what, x in each.items()} for name, each in known.measured.items()},
            trail={name: x[:, None].repeat(1, steps + 1, 1, 1) for name, x in begun.items() if request.trail},
            times={name: t.float().to(self.device).expand(rows, -1, -1) for name, t in times.items()},
            tables={name: t.float().to(self.device).expand(rows, -1, -1, -1) for name, t in tables.items()},
            step=torch.zeros_like(count),
            steps=count,
            conditions=conditions,
            classes={name: each.to(self.device) for name, each in request.classes.items()},
        )
        return self._key(request, lane), lane

    def _times(self, request: Request, state: State) -> dict[str, Tensor]:
        """The times of each stream `(1 or B, steps + 1, 1 or N)`, float64; streams that are done sooner rest."""
        sampling, times = request.sampling, {}
        for spec in self.denoiser.specs:
            path, schedule = self.denoiser.path(spec.name), sampling.schedule_of(spec.name)
            start = min(request.begin, path.start(self.denoiser.corruptions[spec.name].prediction))
            each = schedule.token_times(sampling.steps, path, start, state[spec.name], spec)
            each = schedule.times(sampling.steps, path, start)[None, :, None] if each is None else each
            each = each.cummin(1).values if request.inverted else each  # what rises is made again, and has no way back
            times[spec.name] = each.clamp(min=sampling.solver_of(spec.name).end(path))
        longest = max(each.shape[1] for each in times.values())
        return {
            name: torch.cat((each, each[:, -1:].expand(-1, longest - each.shape[1], -1)), 1) if each.shape[1] < longest else each
            for name, each in times.items()
        }

    def _begun(self, request: Request, stream: Stream, noise: Tensor, times: Tensor, path: Path) -> Tensor:
        """The tokens that rows begin with: prior, clean ones noised to the first time, or (inverted) clean ones."""
        if request.inverted:  # what a solver that ends before 0 calls the sample are its tokens there
            return stream.values * stream.mask[..., None]
        clean = stream.values if request.begin < 1 else torch.zeros_like(stream.values)
        return path.corrupt(clean, noise, times[:, 0].float().to(noise.device)[..., None]) * stream.mask[..., None]

    def _key(self, request: Request, lane: Lane) -> str:
        alike = request.sampling.model_copy(update={"count": 1, "steps": 1, "seed": 0, "batch": 1, "weights": ""})
        slots = (request.condition.cross is None, request.condition.prepend is None)
        named = {who: sorted(conditions) for who, conditions in lane.conditions.items()}
        tokens = {name: times.shape[2] > 1 for name, times in lane.times.items()}
        known = (sorted(lane.recorded), {name: sorted(each) for name, each in lane.measured.items()}, sorted(lane.classes))
        return f"{alike.key()} {slots} {named} {tokens} {known} {request.noised} {request.inverted} {request.trail} {lane.manner.rests}"

    def _prepare(self, who: str, times: Mapping[str, Tensor], condition: Condition) -> Condition:
        """Modulations of all steps x distinct conditions, in one product."""
        entered = self.modulations[who].enter(condition)
        levels = [self.denoisers[who].path(name).level(each.float().unique().to(self.device)) for name, each in times.items()]
        self.modulations[who].prepare(entered, torch.cat(levels))
        return entered

    # --- one step ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self) -> list[Finished]:
        """Move every row by one step of its own; the rows that this finished."""
        self._admit()
        walks = {
            key: Walk(lane, self.denoiser, self._tally, self.store, self.decode, self.classifiers) for key, lane in self._lanes.items()
        }
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
        memory, trail = lane.kept(torch.tensor([i], device=self.device))
        return Finished(row, state, spent(self.tallies, row), memory, trail)

    def _tally(self, method: str) -> Tally:
        return self.tallies.setdefault(method, Tally())

    def _answer(self, walks: "Sequence[Walk]") -> list[Mapping[str, Tensor]]:
        """The guided, corrected prediction of the clean tokens for each walk's queries, all branches in one batch."""
        moments = [walk.moment() for walk in walks]
        plans = [list(walk.lane.sampling.guidance.plan(moment)) for walk, moment in zip(walks, moments, strict=True)]
        found: list[dict[str, dict[str, Tensor]]] = [{} for _ in walks]
        # Who cannot say what to ask before knowing where the tokens are begins with the second round.
        plans = [plan or self._further(walk, moment, plan, {}) for walk, moment, plan in zip(walks, moments, plans, strict=True)]
        asking = list(plans)
        while any(asking):
            questions = [
                Question(walk, branch, walk.rows(branch)) for walk, branches in zip(walks, asking, strict=True) for branch in branches
            ]
            predictions = self._predict([question for question in questions if question.index.numel()])
            for walk, mine in zip(walks, found, strict=True):
                mine |= {name: prediction for (who, name), prediction in predictions.items() if who == id(walk)}
            asking = [self._further(*each) for each in zip(walks, moments, plans, found, strict=True)]
            plans = [plan + more for plan, more in zip(plans, asking, strict=True)]
        answers = []
        for walk, moment, plan, mine in zip(walks, moments, plans, found, strict=True):
            with torch.set_grad_enabled(walk.gradient):
                answers.append(walk.combine(mine, moment, plan))
            walk.hear(answers[-1])
        return answers

    def _further(self, walk: Walk, moment: Moment, plan: Sequence[Branch], found: Mapping[str, Mapping[str, Tensor]]) -> list[Branch]:
        """What the guidance wants to know besides, having heard the first answers: of new names, so that it comes to an end."""
        guidance = walk.lane.sampling.guidance
        if not guidance.asks_again():
            return []
        known = {branch.name for branch in plan}
        return [branch for branch in guidance.follow(found, walk.heres(moment)) if branch.name not in known]

    def _predict(self, questions: Sequence[Question]) -> dict[tuple[int, str], dict[str, Tensor]]:
        """One batch a denoiser; those whose predictions are differentiated have their own."""
        alike = dict.fromkeys((question.branch.denoiser, question.walk.gradient) for question in questions)
        out: dict[tuple[int, str], dict[str, Tensor]] = {}
        for who, gradient in alike:
            with torch.set_grad_enabled(gradient):
                out |= self._batch(
                    who, [question for question in questions if (question.branch.denoiser, question.walk.gradient) == (who, gradient)]
                )
        return out

    def _batch(self, who: str, questions: Sequence[Question]) -> dict[tuple[int, str], dict[str, Tensor]]:
        state = State.cat([question.state() for question in questions])
        condition = Condition.cat([question.condition() for question in questions])
        self._count(questions, state)
        clean = self.denoisers[who](state, condition, hooked(questions, self.store, self._tally), self.modulations[who])
        out, first = {}, 0
        for question in questions:
            rows = slice(first, first + len(question.index))
            first = rows.stop
            own = {name: x[rows] for name, x in clean.items()}
            self._watch(question, own)
            out[id(question.walk), question.branch.name] = {name: question.spread(x, name) for name, x in own.items()}
        return out

    def _watch(self, question: Question, clean: Mapping[str, Tensor]) -> None:
        """Count the rows whose predictions are differentiated: a backward pass through the denoiser, for a row, branch and stream."""

        def count(slope: Tensor) -> None:
            self._tally("engine").add("gradients", question.ids()[slope.flatten(1).any(1)])

        for x in clean.values():
            if x.requires_grad:
                x.register_hook(count)

    def _count(self, questions: Sequence[Question], state: State) -> None:
        tally = self._tally("engine")
        tokens = torch.stack([stream.mask.sum(1) for stream in state.streams.values()]).sum(0)
        for question, own in zip(questions, tokens.split([len(question.index) for question in questions]), strict=True):
            tally.add("network_calls", question.ids())
            tally.add("tokens", question.ids(), own)
            if question.walk.lane.manner.inverted:
                tally.add("inversion_calls", question.ids())
            if question.branch.name != "asked":
                tally.add("guidance_calls", question.ids())


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
