"""Making rows with a run's denoiser: what samples, edits, metrics and policies share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from anylatent.condition import Condition
from anylatent.corrections.best_of import BestOf
from anylatent.denoiser import Denoiser
from anylatent.engine import Engine, Finished, Request
from anylatent.guidance.base import Variant
from anylatent.known import Known, Made
from anylatent.lanes import cat_padded
from anylatent.sampling import Sampling
from anylatent.state import State
from anylatent.types import Tensor


class RowGenerator:
    """A denoiser, how it is sampled, and an engine that stays: what was computed for one call serves the next.

    `noised`: given tokens are noised to each step's time, for a denoiser that was not trained to complete. `others`:
    denoisers of the same streams that guidance asks as well, by the name it knows them by.
    """

    def __init__(self, denoiser: Denoiser, sampling: Sampling, noised: bool, others: Mapping[str, Denoiser] | None = None) -> None:
        self.denoiser, self.sampling, self.noised, self.others = denoiser, sampling, noised, dict(others or {})
        self.engine = Engine(denoiser, sampling.batch, others=self.others)
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
        refusals = list(sampling.guidance.unknown(list(self.denoiser.conditions.named)))
        if refusals:
            raise ValueError("; ".join(refusals))
        named = {name: self._conditions(each, conditions, variants) for name, each in {"main": self.denoiser, **self.others}.items()}
        main = named.pop("main")
        request = Request(
            state.to(self.engine.device), main.pop("asked"), sampling, main.pop("null", None), begin, self.noised, inverted, trail,
            known or Known(), main, named,
        )  # fmt: skip
        rows = self.engine.add(request)
        awaited = set(rows)
        try:
            while awaited:  # other streams' rows move and finish in the same steps
                self._finished |= {done.row: done for done in self.engine.step()}
                for row in sorted(awaited & self._finished.keys()):
                    awaited.remove(row)
                    yield replace(self._finished.pop(row), row=row - rows[0])
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
        refusals = [*filter(None, [best_of.refuses(self.denoiser.specs)]), *(known or Known()).problems(shapes)]
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
                worth = torch.cat([best_of.worth(each.state, self.denoiser.specs) for each in theirs])
                best = int(worth.argmax())
                own = {"candidates": float(best_of.count), "changed": float(best > 0)}
                yield replace(theirs[best], row=row, receipts=_summed([each.receipts for each in theirs]) | {"best-of": own})

    def _conditions(
        self, denoiser: Denoiser, conditions: Sequence[Mapping[str, Any]], variants: Mapping[str, Variant]
    ) -> dict[str, Condition]:
        """What is asked, the null and the variants, as a denoiser encodes them: another than the main one need not know all."""
        encode, device = denoiser.conditions, self.engine.device
        known = set(encode.named)
        rows = [dict(row) if denoiser is self.denoiser else {k: v for k, v in row.items() if k in known} for row in conditions]
        found = {"asked": encode(rows, device)}
        if known:
            found["null"] = encode.null(len(rows), device)
        return found | {name: encode([variant.of(row) for row in rows], device) for name, variant in variants.items()}

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
