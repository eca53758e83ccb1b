"""Making rows with a run's denoiser: what samples, edits, metrics and policies share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from anylatent.denoiser import Denoiser
from anylatent.engine import Engine, Finished, Request
from anylatent.sampling import Sampling
from anylatent.state import State


class RowGenerator:
    """A denoiser, how it is sampled, and an engine that stays: what was computed for one call serves the next.

    `noised`: given tokens are noised to each step's time, for a denoiser that was not trained to complete.
    """

    def __init__(self, denoiser: Denoiser, sampling: Sampling, noised: bool) -> None:
        self.denoiser, self.sampling, self.noised = denoiser, sampling, noised
        self.engine = Engine(denoiser, sampling.batch)
        self._finished: dict[int, Finished] = {}

    @torch.no_grad()
    def stream(self, state: State, conditions: Sequence[Mapping[str, Any]], begin: float = 1.0) -> Iterator[Finished]:
        """Make the rows of a start state (what it keeps comes back), a condition a row: each when it is done, in any order.

        `begin` < 1: from the state's values, noised to that time. Errors: `ValueError` for conditions or methods that do
        not suit the denoiser, or as many conditions as there are no rows.
        """
        if len(conditions) != len(state):
            raise ValueError(f"{len(conditions)} conditions were given for {len(state)} rows: give one each, {{}} asks nothing")
        device, known = self.engine.device, self.denoiser.conditions
        condition = known(conditions, device)
        null = known.null(len(conditions), device) if len(known.named) else None
        rows = self.engine.add(Request(state.to(device), condition, self.sampling, null, begin, self.noised))
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

    def __call__(self, state: State, conditions: Sequence[Mapping[str, Any]], begin: float = 1.0) -> State:
        """The rows of a start state, made, in their order. Errors: as `stream`."""
        finished = sorted(self.stream(state, conditions, begin), key=lambda done: done.row)
        return gathered(finished, state)


def gathered(finished: Sequence[Finished], asked: State) -> State:
    """The state of rows that are done, with the seeds that they were asked with."""
    made = State.cat([done.state for done in finished])
    return State.of(made.streams, asked.seeds.to(made.device), asked.rows.to(made.device))
