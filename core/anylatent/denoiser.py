"""The denoiser: a backbone, what its output means, and the conditions it knows. Predicts the clean state."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from anylatent.condition import Condition
from anylatent.conditioners.base import Conditions
from anylatent.nn.backbone import Backbone
from anylatent.nn.sites import Sites
from anylatent.paths.base import Path, Prediction
from anylatent.spec import StreamSpec
from anylatent.state import State, Stream
from anylatent.types import Float, Int, Tensor


@dataclass(frozen=True)
class Corruption:
    """How a stream is noised, and what the backbone says of it."""

    path: Path
    prediction: Prediction


class ModulationCache:
    """Modulations by (condition vector, noise level), each computed once; emptied when it would pass its byte budget."""

    def __init__(self, backbone: Backbone, budget: int = 256 << 20) -> None:
        self.backbone, self.budget = backbone, budget
        self.computed = 0
        self._pool: Tensor | None = None
        self._index: dict[tuple[bytes, float], int] = {}

    def get(self, levels: Float[Tensor, "rows levels"], vectors: Float[Tensor, "rows width"]) -> Float[Tensor, "rows levels numbers"]:
        """The modulation of each row at each of its levels; what is not known yet is computed in one product."""
        identities = [row.tobytes() for row in vectors.cpu().numpy()]
        wanted = [[(identity, level) for level in row] for identity, row in zip(identities, levels.tolist(), strict=True)]
        places = {key: (i, j) for i, row in enumerate(wanted) for j, key in enumerate(row)}
        missing = {key: place for key, place in places.items() if key not in self._index}
        if missing and self._pool is not None and (len(self._index) + len(missing)) * self._pool[0].nbytes > self.budget:
            self._pool, self._index, missing = None, {}, places
        if missing:
            rows, columns = (torch.tensor(part, device=levels.device) for part in zip(*missing.values(), strict=True))
            new = self.backbone.modulate(levels[rows, columns][:, None], vectors[rows])[:, 0]
            self._index |= {key: len(self._index) + i for i, key in enumerate(missing)}
            self._pool = new if self._pool is None else torch.cat((self._pool, new))
            self.computed += len(missing)
        assert self._pool is not None, "there is at least one row and level"
        return self._pool[torch.tensor([[self._index[key] for key in row] for row in wanted], device=self._pool.device)]


class Denoiser(nn.Module):
    """Predicts the clean tokens of every stream from corrupted ones, at any times and under any condition."""

    def __init__(self, backbone: Backbone, conditions: Conditions, corruptions: Mapping[str, Corruption]) -> None:
        super().__init__()
        self.backbone, self.conditions = backbone, conditions
        self.corruptions = dict(corruptions)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        return self.backbone.specs

    def path(self, stream: str) -> Path:
        return self.corruptions[stream].path

    def predict(
        self, state: State, condition: Condition, sites: Sites | None = None, modulations: ModulationCache | None = None
    ) -> dict[str, Tensor]:
        """What the backbone says of each stream `(B, N, C)`, of the stream's kind of prediction."""
        values, levels, index = {}, [], []
        for spec in self.specs:
            stream, path = state[spec.name], self.path(spec.name)
            scale = path.scale(stream.time[..., None])
            values[spec.name] = stream.values if scale is None else stream.values * scale
            times, which = _levels(stream)
            index.append(which + sum(part.shape[1] for part in levels))
            levels.append(path.level(times))
        level, together = torch.cat(index, 1), torch.cat(levels, 1)
        make = modulations.get if modulations else self.backbone.modulate
        return self.backbone(values, state, make(together, condition.vector), None if together.shape[1] == 1 else level, condition, sites)

    def forward(
        self, state: State, condition: Condition, sites: Sites | None = None, modulations: ModulationCache | None = None
    ) -> dict[str, Tensor]:
        """The predicted clean tokens of each stream `(B, N, C)`; kept tokens are returned as they were given, padding as 0."""
        raw = self.predict(state, condition, sites, modulations)
        return {spec.name: self._clean(spec, state[spec.name], raw[spec.name].float()) for spec in self.specs}

    def _clean(self, spec: StreamSpec, stream: Stream, prediction: Tensor) -> Tensor:
        corruption = self.corruptions[spec.name]
        given = stream.keep | (stream.time == 0)
        # A given token's time is 0, where some conversions divide by 0: any other time does for a value that is not used.
        t = stream.time.masked_fill(given, 0.5)[..., None]
        data = corruption.path.convert(prediction, corruption.prediction, stream.values, t, "data")
        if not given.any():
            data = corruption.path.project(spec, data, stream.mask)
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
