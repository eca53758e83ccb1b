"""Observations and actions as two streams of tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anylatent import random
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.arrays import CHUNK, chunks, describe, is_clean
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.sizes import Size, asked_sizes
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Float, Tensor
from anylatent_robot.chunk import Chunk
from anylatent_robot.chunks import ChunksConfig

OBSERVATION, ACTION = "observation", "action"


class ChunksTokenizer(Tokenizer):
    """Stream `observation`: a token for each observation, always given. Stream `action`: a token for each action.

    Both lie on the axis t in seconds; the newest observation and the first action are at 0. Channels are normalised by the
    training samples' mean and standard deviation; decoded actions stay within the range that training has seen.
    """

    config: ChunksConfig
    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, config: ChunksConfig, example: Any) -> None:
        super().__init__(config)
        if not isinstance(example, Chunk):
            raise ValueError(f"tokenizer 'robot.chunks' takes chunks of robot actions (modality 'robot'), given {describe(example)}")
        self.hz = example.hz
        (self.history, self.observed), (self.horizon, self.acted) = example.observations.shape, example.actions.shape
        self._check(example, 0)
        self.observations, self.actions = Statistics(self.observed), Statistics(self.acted)
        self.register_buffer("low", torch.full((self.acted,), -torch.inf))
        self.register_buffer("high", torch.full((self.acted,), torch.inf))
        self.register_buffer("seen", torch.zeros(1, self.history, self.observed))
        self.facts["seen"] = [["", ""]]

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        axes = (AxisSpec(name="t", unit="s", step=1 / self.hz),)
        return (
            StreamSpec(name=OBSERVATION, width=self.observed, axes=axes, order="sequence", given=True),
            StreamSpec(name=ACTION, width=self.acted, axes=axes, order="sequence"),
        )

    def fit(self, samples: Sequence[Any]) -> None:
        """The statistics of both streams, the range of the actions, and some observations of each task."""
        self.observations, self.actions = Statistics(self.observed), Statistics(self.acted)
        low, high = torch.full((self.acted,), torch.inf), torch.full((self.acted,), -torch.inf)
        places: dict[tuple[str, str], list[int]] = {}
        for number, part in enumerate(chunks(samples)):
            for index, sample in enumerate(part):
                self._check(sample, number * CHUNK + index)
            actions = torch.stack([sample.actions for sample in part])
            low, high = torch.minimum(low, actions.amin((0, 1))), torch.maximum(high, actions.amax((0, 1)))
        for statistics, name in ((self.observations, "observations"), (self.actions, "actions")):
            stacked = (torch.stack([getattr(sample, name) for sample in part]) for part in chunks(samples))
            statistics.measure_batches((values, torch.ones(values.shape[:2], dtype=torch.bool)) for values in stacked)
            statistics.std.clamp_(min=self.config.floor)
        self.low, self.high = low, high
        for index in range(len(samples)):
            places.setdefault((samples[index].task, samples[index].caption), []).append(index)
        chosen = [(task, index) for task, indices in sorted(places.items()) for index in _spread(indices, self.config.remembered)]
        self.seen = self._seen(torch.stack([samples[index].observations for _, index in chosen]))
        self.facts["seen"] = [list(task) for task, _ in chosen]

    def restore(self, facts: Mapping[str, Any]) -> None:
        super().restore(facts)
        self.seen = self.seen.new_zeros(len(facts["seen"]), self.history, self.observed)

    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        for index, sample in enumerate(samples):
            self._check(sample, index)
        observations, actions = (torch.stack([getattr(sample, name) for sample in samples]) for name in ("observations", "actions"))
        device = self.low.device
        return self._state(self._seen(observations.to(device)), self.actions.normalise(actions.to(device)))

    def decode(self, state: State) -> list[Any]:
        observations = self.observations.restore(state[OBSERVATION].values[:, : self.history]).cpu()
        actions, lengths = self.decode_actions(state).cpu(), state[ACTION].mask.sum(1).tolist()
        return [Chunk(seen, done[:length], self.hz) for seen, done, length in zip(observations.clone(), actions.clone(), lengths)]

    def decode_actions(self, state: State) -> Float[Tensor, "rows horizon acted"]:
        """The actions of each row (as many as the longest has) in raw units, within what training has seen."""
        longest = int(state[ACTION].mask.sum(1).max())
        return self.actions.restore(state[ACTION].values[:, :longest]).clamp(self.low, self.high)

    @property
    def size_axes(self) -> tuple[AxisSpec, ...]:
        return self.specs[1].axes

    @property
    def local_axes(self) -> tuple[AxisSpec, ...]:
        return self.size_axes

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        """Rows that are given an observation of the training set, drawn by row seed among those of the asked task.

        `size`: actions, more or less than training's chunks have; guidance `windows` makes long ones as overlapping short ones.
        """
        (count,) = asked_sizes(size, self.size_axes)
        asked: Sequence[Mapping[str, Any]] = conditions or [{}] * len(seeds)
        u = random.uniform(seeds.cpu(), "layout", 0, 0, 1)[:, 0].tolist()
        chosen = []
        for row, share in zip(asked, u):
            suitable = self._remembered(row)
            chosen.append(suitable[min(int(share * len(suitable)), len(suitable) - 1)])
        given = self.seen[chosen].cpu()
        return self._begun(given, given.new_zeros(len(seeds), count or self.horizon, self.acted), seeds)

    def start(
        self,
        observations: Float[Tensor, "rows history observed"],
        seeds: Tensor,
        actions: Float[Tensor, "rows horizon acted"] | None = None,
    ) -> State:
        """Rows that are given these observations (raw units), to make actions for; `actions`: a guess to begin from."""
        if observations.shape[1:] != (self.history, self.observed):
            raise ValueError(
                f"expected observations (rows, {self.history} steps, {self.observed} channels), given {tuple(observations.shape)}"
            )
        device = self.low.device
        empty = torch.zeros(len(seeds), self.horizon, self.acted, device=device)
        guess = empty if actions is None else self.actions.normalise(actions.to(device))
        return self._begun(self._seen(observations.to(device)), guess, seeds)

    def _begun(self, observations: Tensor, actions: Tensor, seeds: Tensor) -> State:
        state = State.of(self._state(observations, actions).streams, seeds.to(observations.device))
        return state.with_kept(OBSERVATION, state[OBSERVATION].mask)

    def _state(self, observations: Tensor, actions: Tensor) -> State:
        streams = {}
        for name, values, first in ((OBSERVATION, observations, 1 - self.history), (ACTION, actions, 0)):
            t = (torch.arange(values.shape[1], device=values.device) + first) / self.hz
            streams[name] = Stream.of(values, t[None, :, None].expand(len(values), -1, -1))
        return State.of(streams)

    def _seen(self, observations: Tensor) -> Tensor:
        return self.observations.normalise(observations).clamp(-self.config.clip, self.config.clip)

    def _remembered(self, asked: Mapping[str, Any]) -> list[int]:
        """The remembered observations of what is asked for; all, if that is nothing known."""
        found = [
            index
            for index, (task, caption) in enumerate(self.facts["seen"])
            if asked.get("task") in (None, task) and asked.get("caption") in (None, caption)
        ]
        return found or list(range(len(self.facts["seen"])))

    def _check(self, sample: Any, index: int) -> None:
        expected = (
            f"expected finite float32 observations ({self.history} steps, {self.observed} channels) "
            f"and actions ({self.horizon} steps, {self.acted} channels) at {self.hz:g} Hz"
        )
        if not isinstance(sample, Chunk):
            raise ValueError(f"sample {index}: {expected}, given {describe(sample)}")
        shapes = (sample.observations, self.history, self.observed), (sample.actions, self.horizon, self.acted)
        if sample.hz != self.hz or not all(is_clean(x, 2, channels) and len(x) == steps for x, steps, channels in shapes):
            given = f"observations: {describe(sample.observations)}; actions: {describe(sample.actions)}; {sample.hz:g} Hz"
            raise ValueError(f"sample {index}: {expected}, given {given}")


def _spread(indices: list[int], count: int) -> list[int]:
    """At most `count` of them, evenly spread."""
    count = min(count, len(indices))
    return [indices[i * len(indices) // count] for i in range(count)]
