"""Networks over noised tokens, and the denoiser: a backbone, what its output means, and the conditions it knows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn

from anylatent.condition import Condition
from anylatent.conditioners.base import Conditions
from anylatent.nn.backbone import Backbone
from anylatent.nn.sites import Sites
from anylatent.paths.base import Path, Prediction
from anylatent.spec import StreamSpec
from anylatent.state import State, Stream
from anylatent.types import Bool, Float, Int, Tensor

TOLD = 5.0
"""In standard deviations of clean tokens, the largest prediction that a network is told of."""


@dataclass(frozen=True)
class Corruption:
    """How a stream is noised, and what the backbone says of it."""

    path: Path
    prediction: Prediction


class ModulationCache:
    """Modulations by condition vector and noise level, each computed once; emptied, whole, when it would pass its byte budget.

    Rows say which vector is theirs by `Condition.ids`, given out by `enter`; looking up is a few tensor operations, whatever the number
    of rows. No id is given out twice, so what rows in flight ask after it was emptied is computed anew.
    """

    def __init__(self, backbone: Backbone, budget: int = 256 << 20) -> None:
        self.backbone, self.budget = backbone, budget
        self.computed = 0
        """Modulations computed so far: what a receipt or a test can compare with steps x distinct conditions."""
        self._next = 0
        self._empty()

    def _empty(self) -> None:
        self._ids: dict[bytes, int] = {}
        self._known: Tensor | None = None
        self._levels: Tensor | None = None
        self._places: Tensor | None = None
        self._pool: Tensor | None = None
        self._filled = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all that it keeps."""
        vectors = len(self._ids) * len(next(iter(self._ids), b""))
        pool = () if self._pool is None else (self._pool[: self._filled],)
        return vectors + sum(each.nbytes for each in (self._known, self._levels, self._places, *pool) if each is not None)

    def enter(self, condition: Condition) -> Condition:
        """The same condition, with the ids of its vectors."""
        distinct, which = torch.unique(condition.vector, dim=0, return_inverse=True)
        ids = []
        for row in distinct:
            identity = row.cpu().numpy().tobytes()
            if identity not in self._ids:
                self._ids[identity] = self._next
                self._next += 1
            ids.append(self._ids[identity])
        return replace(condition, ids=torch.tensor(ids, device=condition.vector.device)[which])

    def prepare(self, condition: Condition, levels: Float[Tensor, " levels"]) -> None:
        """Compute the modulations of all distinct vectors x levels that are not known yet, in one product."""
        assert condition.ids is not None, "`enter` comes first"
        distinct = condition.ids.unique()
        vectors = condition.vector[_rows_of(distinct, condition.ids)]
        self._get(levels.unique().expand(len(distinct), -1), distinct, vectors)

    def get(self, levels: Float[Tensor, "rows levels"], condition: Condition) -> Float[Tensor, "rows levels numbers"]:
        """The modulation of each row at each of its levels; what is not known yet is computed."""
        if condition.ids is None:
            return self.backbone.modulate(levels, condition.vector)
        return self._get(levels, condition.ids, condition.vector)

    def _get(
        self, levels: Float[Tensor, "rows levels"], ids: Int[Tensor, " rows"], vectors: Float[Tensor, "rows width"]
    ) -> Float[Tensor, "rows levels numbers"]:
        places = self._find(levels, ids)
        if (missing := places < 0).any():
            self._compute(levels, ids, vectors, missing)
            places = self._find(levels, ids)
            if (places < 0).any():  # what was known had to make room
                self._compute(levels, ids, vectors, torch.ones_like(missing))
                places = self._find(levels, ids)
        assert self._pool is not None, "there is at least one row and level"
        return self._pool[places]

    def _find(self, levels: Tensor, ids: Tensor) -> Tensor:
        """Where in the pool they are; -1: nowhere."""
        if self._levels is None or self._known is None or self._places is None:
            return torch.full_like(levels, -1, dtype=torch.long)
        columns = torch.searchsorted(self._levels, levels.contiguous()).clamp(max=len(self._levels) - 1)
        rows = torch.searchsorted(self._known, ids).clamp(max=len(self._known) - 1)
        there = (self._levels[columns] == levels) & (self._known[rows] == ids)[:, None]
        return torch.where(there, self._places[rows[:, None], columns], -1)

    def _compute(self, levels: Tensor, ids: Tensor, vectors: Tensor, wanted: Bool[Tensor, "rows levels"]) -> None:
        pairs = torch.unique(torch.stack((ids[:, None].expand_as(levels)[wanted].double(), levels[wanted].double()), 1), dim=0)
        which, times = pairs[:, 0].long(), pairs[:, 1].float()
        with torch.no_grad():  # kept between calls, of which only some are differentiated
            new = self.backbone.modulate(times[:, None], vectors[_rows_of(which, ids)])[:, 0]
        self.computed += len(new)
        known, there, places = self._enlarged(which, times)
        before = 0 if self._places is None else self._places.nbytes
        if self.nbytes - before + places.nbytes + new.nbytes > self.budget:
            self._empty()
            known, there, places = self._enlarged(which, times)
        places[torch.searchsorted(known, which), torch.searchsorted(there, times)] = self._keep(new)
        self._known, self._levels, self._places = known, there, places

    def _keep(self, new: Float[Tensor, "new numbers"]) -> Int[Tensor, " new"]:
        """Where in the pool they are now; its room is doubled when it is full, so that what is there is seldom moved."""
        first, filled = self._filled, self._filled + len(new)
        if self._pool is None or filled > len(self._pool):
            room = new.new_empty(max(filled, min(2 * filled, self.budget // max(1, new[0].nbytes))), new.shape[1])
            if self._pool is not None:
                room[:first] = self._pool[:first]
            self._pool = room
        self._pool[first:filled] = new
        self._filled = filled
        return torch.arange(first, filled, device=new.device)

    def _enlarged(self, ids: Tensor, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The ids, levels and places that there are, with these besides."""
        if self._known is None or self._levels is None or self._places is None:
            known, there = ids.unique(), levels.unique()
            return known, there, torch.full((len(known), len(there)), -1, device=levels.device)
        known, there = torch.cat((self._known, ids)).unique(), torch.cat((self._levels, levels)).unique()
        places = torch.full((len(known), len(there)), -1, device=levels.device)
        places[torch.searchsorted(known, self._known)[:, None], torch.searchsorted(there, self._levels)] = self._places
        return known, there, places


def _rows_of(wanted: Int[Tensor, " wanted"], ids: Int[Tensor, " rows"]) -> Int[Tensor, " wanted"]:
    """A row of each of the ids that are wanted."""
    order = ids.argsort()
    return order[torch.searchsorted(ids[order], wanted)]


class Shown(NamedTuple):
    """What a backbone is shown of noised tokens, as its first arguments: scaled values, the state, modulations, each token's level."""

    values: Mapping[str, Tensor]
    state: State
    modulation: Float[Tensor, "rows levels numbers"]
    level: Int[Tensor, "rows tokens"] | None


class TokenNetwork(nn.Module):
    """A backbone over noised tokens: each stream is shown to it as its path has it, with its tokens' times as noise levels."""

    def __init__(self, backbone: Backbone, corruptions: Mapping[str, Corruption]) -> None:
        super().__init__()
        self.backbone = backbone
        self.corruptions = dict(corruptions)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        return self.backbone.specs

    def path(self, stream: str) -> Path:
        return self.corruptions[stream].path

    def shown(self, state: State, condition: Condition, modulations: ModulationCache | None = None) -> Shown:
        """What the backbone is shown of these tokens under this condition."""
        values, levels, index = {}, [], []
        for spec in self.specs:
            stream, path = state[spec.name], self.path(spec.name)
            partner = path.partner()
            values[spec.name] = path.shown(stream.values, stream.time[..., None], state[partner].values if partner else None)
            times, which = _levels(stream)
            index.append(which + sum(part.shape[1] for part in levels))
            levels.append(path.level(times))
        level, together = torch.cat(index, 1), torch.cat(levels, 1)
        modulation = modulations.get(together, condition) if modulations else self.backbone.modulate(together, condition.vector)
        return Shown(values, state, modulation, None if together.shape[1] == 1 else level)


class Denoiser(TokenNetwork):
    """Predicts the clean tokens of every stream from corrupted ones, at any times and under any condition."""

    def __init__(self, backbone: Backbone, conditions: Conditions, corruptions: Mapping[str, Corruption]) -> None:
        super().__init__(backbone, corruptions)
        self.conditions = conditions

    @property
    def self_conditioned(self) -> bool:
        """Whether the network is told its last prediction."""
        return self.backbone.self_conditioning > 0

    def heard(self, clean: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the network is told (`Stream.told`) of clean tokens that it predicted, by stream; 0 where `known` `(B, N)` is false.

        Tokens as it would see them without noise; at most `TOLD` in size, since what says noise near t = 1 says data of any size.
        """
        told = {}
        for spec in self.specs:
            data = clean[spec.name].float()
            shown = self.path(spec.name).shown(data.clamp(-TOLD, TOLD), data.new_zeros(len(data), 1, 1))
            told[spec.name] = torch.where(known[spec.name][..., None], shown, 0.0)
        return told

    def predict(
        self, state: State, condition: Condition, sites: Sites | None = None, modulations: ModulationCache | None = None
    ) -> dict[str, Tensor]:
        """What the backbone says of each stream `(B, N, C)`, of the stream's kind of prediction."""
        return self.backbone(*self.shown(state, condition, modulations), condition, sites)

    def forward(
        self, state: State, condition: Condition, sites: Sites | None = None, modulations: ModulationCache | None = None
    ) -> dict[str, Tensor]:
        """The predicted clean tokens of each stream `(B, N, C)`; kept tokens are returned as they were given, padding as 0."""
        raw = self.predict(state, condition, sites, modulations)
        return {spec.name: self._clean(spec, state[spec.name], raw[spec.name].float()) for spec in self.specs}

    def _clean(self, spec: StreamSpec, stream: Stream, prediction: Tensor) -> Tensor:
        corruption = self.corruptions[spec.name]
        given = stream.mask & (stream.keep | (stream.time == 0))
        # A given token's time is 0, where some conversions divide by 0: any other time does for a value that is not used.
        t = stream.time.masked_fill(given, 0.5)[..., None]
        data = corruption.path.convert(prediction, corruption.prediction, stream.values, t, "data")
        # A row with given tokens is where they are; only a row made whole can be moved.
        whole = ~given.any(1)[:, None, None]
        data = torch.where(whole, corruption.path.project(spec, data, stream.mask), data)
        return torch.where(given[..., None], stream.values, data) * stream.mask[..., None]


def _levels(stream: Stream) -> tuple[Float[Tensor, "rows levels"], Int[Tensor, "rows tokens"]]:
    """The distinct times of a stream's rows and each token's: one if a row has one time, two if it has also kept tokens, else N."""
    time = stream.time
    latest = time.amax(1, keepdim=True)
    given = stream.keep & stream.mask
    same = (time == latest) | given | ~stream.mask
    if not same.all():
        return time, torch.arange(time.shape[1], device=time.device).expand(time.shape)
    if not given.any():
        return latest, torch.zeros_like(time, dtype=torch.long)
    return torch.cat((latest, torch.zeros_like(latest)), 1), given.long()
