"""Making rows with a run's denoiser: what samples, edits, metrics and policies share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from anylatent.best_of import BestOf
from anylatent.condition import Condition
from anylatent.denoiser import Denoiser
from anylatent.energies import Decode
from anylatent.engine import Engine, Finished, Request
from anylatent.guidance.base import Variant
from anylatent.known import Known, Made
from anylatent.lanes import cat_padded
from anylatent.nn.backbone import Backbone
from anylatent.perception.token_classifier import TokenClassifier
from anylatent.sampling import Sampling
from anylatent.spec import StreamSpec
from anylatent.state import State, spent
from anylatent.types import Float, Int, Tensor


@dataclass(frozen=True)
class Settled:
    """Tokens of a row that no later step changes, handed out as soon as that is so.

    `state`: one row with all that settled so far, its other tokens masked and 0. `fresh`: by stream, the indices of those that were not
    handed out before; `spans`: the places of the first and the last of them, by stream and axis, in its unit. `receipts`: what the row
    took so far.
    """

    row: int
    state: State
    fresh: Mapping[str, Int[Tensor, " fresh"]]
    spans: Mapping[str, Mapping[str, tuple[float, float]]]
    receipts: Mapping[str, Mapping[str, float]]
    sample: Any = None
    """The sample as far as it is settled: see `Run.stream`."""

    def tokens(self, stream: str) -> Float[Tensor, "fresh width"]:
        """The fresh tokens of a stream."""
        return self.state[stream].values[0, self.fresh[stream]]


class RowGenerator:
    """A denoiser, how it is sampled, and an engine that stays: what was computed for one call serves the next.

    `noised`: given tokens are noised to each step's time, for a denoiser that was not trained to complete. `others`:
    denoisers of the same streams that guidance asks as well, by the name it knows them by. `decode`: the tokenizer's, for
    energies of decoded samples. `classifiers`: those that corrections ask, by condition, which the denoiser need not know.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        sampling: Sampling,
        noised: bool,
        others: Mapping[str, Denoiser] | None = None,
        decode: Decode | None = None,
        classifiers: Mapping[str, TokenClassifier] | None = None,
    ) -> None:
        self.denoiser, self.sampling, self.noised, self.others = denoiser, sampling, noised, dict(others or {})
        self.classifiers = dict(classifiers or {})
        self.engine = Engine(denoiser, sampling.batch, others=self.others, decode=decode, classifiers=self.classifiers)
        self._finished: dict[int, Finished] = {}

    @torch.no_grad()
    def stream(
        self,
        state: State,
        conditions: Sequence[Mapping[str, Any]],
        begin: float = 1.0,
        known: Known | None = None,
        sampling: Sampling | None = None,
        *,
        inverted: bool = False,
        trail: bool = False,
    ) -> Iterator[Finished]:
        """Make the rows of a start state (what it keeps comes back), a condition a row: each when it is done, in any order.

        `begin` < 1: from the state's values, noised to that time. `known`, `inverted`, `trail`: see `Request`. `sampling`:
        other than the generator's. Errors: `ValueError` for conditions or methods that do not suit the denoiser, or as
        many conditions as there are no rows.
        """
        events = self._events(state, conditions, begin, known, sampling, inverted, trail, settling=False)
        yield from (event for event in events if isinstance(event, Finished))

    def settling(
        self,
        state: State,
        conditions: Sequence[Mapping[str, Any]],
        begin: float = 1.0,
        known: Known | None = None,
        sampling: Sampling | None = None,
    ) -> Iterator[Settled | Finished]:
        """As `stream`; besides, after each step, what of the rows no later step changes: all of a row's tokens before the row itself.

        Where the best of several samples is asked for, it is known when all of them are done: its row comes whole. Errors: as `stream`.
        """
        yield from self._events(state, conditions, begin, known, sampling, inverted=False, trail=False, settling=True)

    @torch.no_grad()
    def _events(
        self,
        state: State,
        conditions: Sequence[Mapping[str, Any]],
        begin: float,
        known: Known | None,
        sampling: Sampling | None,
        inverted: bool,
        trail: bool,
        settling: bool,
    ) -> Iterator[Settled | Finished]:
        if len(conditions) != len(state):
            raise ValueError(f"{len(conditions)} conditions were given for {len(state)} rows: give one each, {{}} asks nothing")
        sampling = sampling or self.sampling
        if sampling.best_of is not None:
            single = sampling.model_copy(update={"best_of": None})
            if not inverted:  # there is one way back
                yield from self._best(sampling.best_of, state, conditions, begin, known, single, trail)
                return
            sampling = single
        variants = sampling.guidance.variants()
        refusals = list(sampling.guidance.unknown(self.denoiser.conditions))
        if refusals:
            raise ValueError("; ".join(refusals))
        named = {name: self._conditions(each, conditions, variants) for name, each in {"main": self.denoiser, **self.others}.items()}
        main = named.pop("main")
        request = Request(
            state.to(self.engine.device), main.pop("asked"), sampling, main.pop("null", None), begin, self.noised, inverted, trail,
            known or Known(), main, named, self._classes(sampling, conditions),
        )  # fmt: skip
        rows = self.engine.add(request)
        awaited = set(rows)
        settled = _Settlement(self.denoiser.specs, state) if settling else None
        try:
            while awaited:  # other streams' rows move and finish in the same steps
                self._finished |= {done.row: done for done in self.engine.step()}
                for row in sorted(awaited & self._finished.keys()):
                    awaited.remove(row)
                    done = replace(self._finished.pop(row), row=row - rows[0])
                    if settled:
                        yield from settled.news(done.row, done.state, done.receipts)
                    yield done
                if settled:
                    moving = ((row, i, lane) for lane in self.engine.settled() for i, row in enumerate(lane.rows.tolist()))
                    for row, i, lane in sorted((each for each in moving if each[0] in awaited), key=lambda each: each[0]):
                        yield from settled.news(row - rows[0], lane.select([i]), spent(self.engine.tallies, row))
        finally:
            for row in awaited:  # whoever stops listening does not want the rest
                self.engine.cancel(row)
                self._finished.pop(row, None)

    def _best(
        self,
        best_of: BestOf,
        state: State,
        conditions: Sequence[Mapping[str, Any]],
        begin: float,
        known: Known | None,
        sampling: Sampling,
        trail: bool,
    ) -> Iterator[Finished]:
        """Of each row's candidates the best, when all of them are done; its receipts are theirs together."""
        shapes = {spec.name: tuple(state[spec.name].shape) for spec in self.denoiser.specs}
        searching = sampling.model_copy(update={"best_of": best_of})
        refusals = [*filter(None, [best_of.refuses(self.denoiser.specs)]), *(known or Known()).problems(shapes)]
        refusals += searching.undecoded(state.to(self.engine.device), self.engine.decode)
        if refusals:
            raise ValueError("; ".join(refusals))
        many = best_of.candidates(state)
        asked = [row for row in conditions for _ in range(best_of.count)]
        rivals: dict[int, list[Finished]] = {}
        for done in self.stream(many, asked, begin, best_of.known(known or Known()), sampling, trail=trail):
            row = done.row // best_of.count
            rivals.setdefault(row, []).append(done)
            if len(rivals[row]) == best_of.count:
                theirs = sorted(rivals.pop(row), key=lambda each: each.row)
                judged = State.cat([each.state for each in theirs])  # with the row's own seed, which decodes the best of them
                judged = replace(judged, seeds=state.seeds[[row] * best_of.count].to(judged.device))
                best = int(best_of.worth(judged, self.denoiser.specs, self.engine.decode).argmax())
                own = {"candidates": float(best_of.count), "changed": float(best > 0)}
                yield replace(theirs[best], row=row, receipts=_summed([each.receipts for each in theirs]) | {"best-of": own})

    def _conditions(
        self, denoiser: Denoiser, conditions: Sequence[Mapping[str, Any]], variants: Mapping[str, Variant]
    ) -> dict[str, Condition]:
        """What is asked, the null and the variants, as a denoiser encodes them: another than the main one need not know all."""
        encode, device = denoiser.conditions, self.engine.device
        known = set(encode.named)
        unheard = (set(self.classifiers) if denoiser is self.denoiser else {name for row in conditions for name in row}) - known
        rows = [{name: value for name, value in row.items() if name not in unheard} for row in conditions]
        found = {"asked": encode(rows, device)}
        if known:
            found["null"] = encode.null(len(rows), device)
        return found | {name: encode([variant.of(row) for row in rows], device) for name, variant in variants.items()}

    def _classes(self, sampling: Sampling, conditions: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Which class each row is asked to be, of the classifiers that corrections ask."""
        found = {}
        for name in sampling.classifiers():
            if name in self.classifiers:  # else the engine refuses it
                try:
                    found[name] = self.classifiers[name].index([row.get(name) for row in conditions])
                except ValueError as error:
                    raise ValueError(f"condition '{name}': {error}") from error
        return found

    def __call__(
        self,
        state: State,
        conditions: Sequence[Mapping[str, Any]],
        begin: float = 1.0,
        known: Known | None = None,
        sampling: Sampling | None = None,
    ) -> State:
        """The rows of a start state, made, in their order. Errors: as `stream`."""
        return gathered(list(self.stream(state, conditions, begin, known, sampling)), state).state

    def invert(self, state: State, conditions: Sequence[Mapping[str, Any]], sampling: Sampling | None = None, trail: bool = False) -> Made:
        """The rows of a clean state taken back to the prior by the solver, with what it needs to come again (DDIM inversion: Song
        et al. 2020, 2010.02502, section 4.3; exact with an invertible solver). Errors: as `stream`; for a solver without a way back.
        """
        return gathered(list(self.stream(state, conditions, 1.0, None, sampling, inverted=True, trail=trail)), state)


class _Settlement:
    """What of the rows of a start state was not handed out yet."""

    def __init__(self, specs: Sequence[StreamSpec], state: State) -> None:
        self.specs, masks = specs, {name: stream.mask.cpu() for name, stream in state.streams.items()}
        self.missing = [{name: mask[row].nonzero()[:, 0] for name, mask in masks.items()} for row in range(len(state))]

    def news(self, row: int, state: State, receipts: Mapping[str, Mapping[str, float]]) -> Iterator[Settled]:
        """What is new of a row's settled tokens, if anything is."""
        missing = self.missing[row]
        now = {name: state[name].mask[0].cpu()[indices] for name, indices in missing.items()}
        fresh = {name: missing[name][mask] for name, mask in now.items() if mask.any()}
        self.missing[row] = {name: missing[name][~mask] for name, mask in now.items()}
        if fresh:
            spans = {spec.name: _spans(spec, state, fresh[spec.name]) for spec in self.specs if spec.name in fresh}
            yield Settled(row, state.trimmed(), fresh, spans, receipts)


def _spans(spec: StreamSpec, state: State, tokens: Int[Tensor, " fresh"]) -> dict[str, tuple[float, float]]:
    """The places of the first and the last of some tokens, by axis."""
    places = state[spec.name].positions[0, tokens.to(state.device)]
    return {axis.name: (float(own.min()), float(own.max())) for axis, own in zip(spec.axes, places.T, strict=True)}


def promised(denoiser: Denoiser, sampling: Sampling, state: State, decode: Decode | None = None) -> list[int] | None:
    """Network calls that each of these rows would take: the engine makes them, with a denoiser that says at once that it knows nothing.

    None where that depends on what a denoiser says. Hooks and corrections ask nothing and are left out. Errors: as `RowGenerator.stream`.
    """
    if not all(sampling.solver_of(spec.name).calls for spec in denoiser.specs if not spec.given):
        return None
    silent, count = _Silent(denoiser), sampling.best_of.count if sampling.best_of else 1
    bare = sampling.model_copy(update={"hooks": (), "corrections": (), "best_of": None})
    generator = RowGenerator(silent, bare, False, dict.fromkeys(sampling.guidance.denoisers(), silent), decode)
    done = sorted(generator.stream(state, [{}] * len(state)), key=lambda each: each.row)
    return [count * int(each.receipts["engine"]["network_calls"]) for each in done]


class _Unread(Backbone):
    """What a backbone looks like to those who ask whether it suits them, with nothing inside."""

    def __init__(self, like: Backbone) -> None:
        super().__init__(like.specs, like.width)
        self.sites, self.depth, self.self_conditioning = like.sites, like.depth, like.self_conditioning  # pyright: ignore[reportAttributeAccessIssue]

    def modulate(self, levels: Tensor, vector: Tensor) -> Tensor:
        return levels[..., None][..., :0]

    def tokens(self, *args: Any, **more: Any) -> Tensor:
        raise NotImplementedError("it is not read")


class _Silent(Denoiser):
    """Says of all tokens that they are 0, or might be anything."""

    def __init__(self, like: Denoiser) -> None:
        super().__init__(_Unread(like.backbone), like.conditions, like.corruptions)
        self.nothing = torch.nn.Parameter(torch.zeros((), device=next(like.parameters()).device))

    def forward(self, state: State, *args: Any) -> dict[str, Tensor]:
        anything = {spec.name: 1 / spec.width if spec.kind == "categorical" else 0.0 for spec in self.specs}
        return {name: torch.full_like(state[name].values, value) for name, value in anything.items()}


def _summed(receipts: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Counts of several rows as one's, by method and name."""
    total: dict[str, dict[str, float]] = {}
    for method, name, count in ((method, *item) for each in receipts for method, counts in each.items() for item in counts.items()):
        counts = total.setdefault(method, {})
        counts[name] = counts.get(name, 0.0) + count
    return total


def gathered(finished: Sequence[Finished], asked: State) -> Made:
    """Rows that are done, in their order, with the seeds that they were asked with."""
    done = sorted(finished, key=lambda each: each.row)
    made = State.cat([each.state for each in done])
    state = State.of(made.streams, asked.seeds.to(made.device), asked.rows.to(made.device))
    memory = {
        stream: {name: cat_padded([each.memory[stream][name] for each in done]) for name in names}
        for stream, names in done[0].memory.items()
    }
    counts = {(method, name) for each in done for method, counts in each.receipts.items() for name in counts}
    spent: dict[str, dict[str, Tensor]] = {}
    for method, name in sorted(counts):
        spent.setdefault(method, {})[name] = torch.tensor([each.receipts.get(method, {}).get(name, 0.0) for each in done])
    return Made(state, memory, {stream: cat_padded([each.trail[stream] for each in done]) for stream in done[0].trail}, spent)
