"""What training minimises: a path, what is predicted, which times are seen and how much they count."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from anylatent.lazy import torch
from anylatent.node import Node, Spec
from anylatent.objective.coupling import Coupling, Independent, Meeting
from anylatent.objective.losses import Loss, Squared
from anylatent.objective.times import LogitNormalTimes, TimeDensity
from anylatent.objective.weighting import Unweighted, Weighting
from anylatent.paths.base import GaussianPath, Path, Prediction
from anylatent.paths.discrete import DiscretePath
from anylatent.paths.rectified import Rectified
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.condition import Condition
    from anylatent.denoiser import Denoiser, TokenNetwork
    from anylatent.state import State


class StreamObjective(Spec):
    """What differs for one stream of several."""

    path: Path | None = None
    prediction: Prediction | None = None
    times: TimeDensity | None = None
    weighting: Weighting | None = None
    error: Loss | None = None
    weight: float = Field(default=1.0, ge=0, description="How much the stream's loss counts.")


class Objective(Node):
    """Denoising: the error of the prediction, squared if nothing else is said, over valid tokens that are not given.

    Numbers are drawn by (row seed, training step): a row's loss does not depend on its batch (unless the coupling is
    `optimal-transport`), and resuming needs no generator state.
    """

    path: Path = Rectified()
    prediction: Prediction = Field(default="velocity", description="What the backbone's output means.")
    times: TimeDensity = LogitNormalTimes()
    weighting: Weighting = Field(default=Unweighted(), description="What each time counts.")
    error: Loss = Field(default=Squared(), description="What a wrong prediction costs.")
    coupling: Coupling = Field(default=Independent(), description="Which noise belongs to which sample.")
    completion: float = Field(
        default=0.0, ge=0, le=1, description="Share of rows that see some clean, kept tokens, to learn to complete them."
    )
    together: bool = Field(
        default=True, description="Whether all streams of a row share one quantile of their times; if not, each draws its own."
    )
    given: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Of several streams: share of rows that see a stream whole and clean.",
    )
    absent: float = Field(default=0.0, ge=0, le=1, description="Of several streams: share of rows that see nothing of a stream.")
    forcing: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of rows whose tokens have times of their own, by place on the first axis: for the schedule `pyramid`.",
    )
    streams: dict[str, StreamObjective] = Field(default={}, description="What differs, by stream.")

    @property
    def completes(self) -> bool:
        """Whether training sees given tokens as they will be given: clean, at time 0."""
        return self.completion > 0 or self.given > 0

    @model_validator(mode="after")
    def _suits(self) -> "Objective":
        for own in (StreamObjective(), *self.streams.values()):
            path = own.path or self.path
            for part in (own.times or self.times, own.weighting or self.weighting):
                if part.gaussian and not isinstance(path, GaussianPath):
                    needs = "need" if part.family == "times" else "needs"
                    raise ValueError(f"{part.family} '{part.kind}' {needs} a Gaussian path, given '{path.kind}'")
        if self.given + self.absent > 1:
            raise ValueError(f"shares of rows: given {self.given} and absent {self.absent} are more than all of them")
        return self

    def refusals(self, specs: Sequence[StreamSpec]) -> list[str]:
        """Why these streams cannot be trained so: names that are no streams, bridges without a source."""
        widths = {spec.name: spec.width for spec in specs}
        found = [
            f"there is no stream '{name}' for the objective: the tokenizer makes {sorted(widths)}"
            for name in self.streams
            if name not in widths
        ]
        for spec in specs:
            path, prediction = self.of(spec.name)
            if prediction not in path.predictions:
                found.append(f"path '{path.kind}' of stream '{spec.name}' predicts {' or '.join(path.predictions)}, given '{prediction}'")
            found += self._unheard(spec, path, [other for other in specs if not other.given])
            if self.coupling.gaussian and not isinstance(path, GaussianPath):
                found.append(
                    f"coupling '{self.coupling.kind}' measures distances to noise; path '{path.kind}' of stream '{spec.name}' has none"
                )
            source = path.partner()
            given = any(other.name == source and other.given for other in specs)
            if not source or spec.given:
                continue
            if widths.get(source) != spec.width:
                found.append(
                    f"stream '{spec.name}' of width {spec.width} is bridged from '{source}'; the tokenizer makes "
                    + ", ".join(f"'{name}' of width {width}" for name, width in sorted(widths.items()))
                )
            elif not given and self.given < 1:
                found.append(
                    f"stream '{spec.name}' is bridged from '{source}', which training does not always give: set objective.given to 1"
                )
        return found

    def _unheard(self, spec: StreamSpec, path: Path, made: Sequence[StreamSpec]) -> list[str]:
        """What is said of a stream's loss that its path, which has a loss of its own, does not listen to."""
        if not isinstance(path, DiscretePath):
            return []
        own = self.streams.get(spec.name, StreamObjective())
        error = own.error or self.error
        others = [other for other in made if not isinstance(self.of(other.name)[0], DiscretePath)]
        if isinstance(error, Squared) or (own.error is None and others):  # the recipe's common error is then the others'
            return []
        refusal = f"path '{path.kind}' of stream '{spec.name}' has a loss of its own and no use for the error '{error.kind}': leave it out"
        return [f"{refusal}, and choose the path's `weighting` (bound or even)"]

    def of(self, stream: str) -> tuple[Path, Prediction]:
        """The path and the prediction of a stream."""
        own = self.streams.get(stream, StreamObjective())
        return own.path or self.path, own.prediction or self.prediction

    def corrupt(
        self, clean: "State", denoiser: "TokenNetwork", step: int, condition: "Condition | None" = None
    ) -> "tuple[State, dict[str, Tensor]]":
        """The noised state and the target `(B, N, C)` of each stream."""
        specs = {spec.name: spec for spec in denoiser.specs}
        whole, nothing = self._roles(clean, denoiser, step)
        kept, made = {}, {}
        for name, spec in specs.items():
            stream = clean[name]
            given = whole.get(name, torch.tensor(spec.given, device=clean.device))
            kept[name] = stream.keep | self._kept(clean, name, step) | (given[..., None] & stream.mask)
            made[name] = stream.mask & ~kept[name]

        def prior(name: str, noise: Tensor) -> Tensor:
            return self.of(name)[0].prior(specs[name], noise, clean[name].mask)

        x1 = self.coupling.prior(Meeting(clean, made, prior, condition, step))
        targets: dict[str, Tensor] = {}
        noised, times = clean, {}
        for name in specs:
            values, (path, prediction) = clean[name].values, self.of(name)
            t = self._times(clean, name, path, step)
            t = t.masked_fill(nothing[name][:, None, None], 1.0) if name in nothing else t
            t = t.expand(*values.shape[:2], 1).masked_fill(kept[name][..., None], 0.0)
            times[name] = t[..., 0]
            targets[name] = path.target(prediction, values, x1[name], _inside(t))
            noised = noised.with_values({name: path.corrupt(values, x1[name], t)})
            noised = noised.with_kept(name, kept[name])
        return noised.with_time(times), targets

    def _times(self, clean: "State", name: str, path: Path, step: int) -> Float[Tensor, "rows #tokens 1"]:
        """The time of each row; of each place in the share `forcing` of the rows."""
        from anylatent import random

        shared = "times" if self.together else f"times/{name}"
        density = self.streams.get(name, StreamObjective()).times or self.times
        t = density.times(random.uniform(clean.seeds, shared, step, 0, 1)[:, 0], path)[:, None, None]
        if not self.forcing:
            return t
        places = _places(clean, name)
        drawn = random.uniform(clean.seeds, f"{shared}/places", step, 0, int(places.max()) + 1)
        own = density.times(drawn.gather(1, places).flatten(), path).view(*places.shape, 1)
        apart = random.uniform(clean.seeds, "forcing", step, 0, 1)[:, :, None] < self.forcing
        return torch.where(apart, own, t)

    def _roles(self, clean: "State", denoiser: "TokenNetwork", step: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """By stream, the rows that are given it whole, and the rows that have nothing of it; each row has one left to make."""
        from anylatent import random

        names = [spec.name for spec in denoiser.specs if not spec.given]
        if len(names) < 2 or not self.given + self.absent:
            return {}, {}
        drawn = random.uniform(clean.seeds, "roles", step, 0, len(names) + 1)
        made = (drawn[:, 0] * len(names)).long()
        whole, nothing = {}, {}
        for index, name in enumerate(names):
            u, other = drawn[:, index + 1], made != index
            whole[name] = other & (u < self.given)
            nothing[name] = other & (u >= self.given) & (u < self.given + self.absent)
        return whole, nothing

    def _kept(self, clean: "State", stream: str, step: int) -> Tensor:
        """Random tokens to keep, in a share `completion` of the rows: each row with its own fraction."""
        from anylatent import random

        tokens = clean[stream].shape[1]
        if not self.completion:
            return torch.zeros(len(clean), tokens, dtype=torch.bool, device=clean.device)
        chosen, fraction = random.uniform(clean.seeds, "completion", step, 0, 2).unbind(1)
        scattered = random.uniform(clean.seeds, f"completion/{stream}", step, 0, tokens) < fraction[:, None]
        return scattered & (chosen < self.completion)[:, None] & clean[stream].mask

    def loss(self, denoiser: "Denoiser", clean: "State", condition: "Condition", step: int) -> Float[Tensor, " rows"]:
        """The loss of each row: error of the prediction, mean over channels and over tokens that are neither given nor absent."""
        noised, targets = self.corrupt(clean, denoiser, step, condition)
        if denoiser.self_conditioned:
            noised = told(noised, denoiser, condition, step)
        predictions = denoiser.predict(noised, condition)
        total = torch.zeros(len(clean), device=clean.device)
        for name, target in targets.items():
            stream = noised[name]
            counts = (stream.mask & ~stream.keep & (stream.time < 1)).float()
            own, (path, kind) = self.streams.get(name, StreamObjective()), self.of(name)
            prediction = predictions[name].float()
            error = path.loss(prediction, kind, clean[name].values, stream.values, stream.time[..., None])
            error = (own.error or self.error).of_tokens(prediction, target) if error is None else error
            factor = (own.weighting or self.weighting).factor(path, kind, _inside(stream.time))
            error = error if factor is None else error * factor
            total = total + own.weight * (error * counts).sum(1) / counts.sum(1).clamp(min=1)
        return total


def told(noised: "State", denoiser: "Denoiser", condition: "Condition", step: int) -> "State":
    """The noised rows, of which a share is told what the denoiser says of them, without gradient; the others are told nothing.

    Chen et al. 2022, 2208.04202, sec. 2.3: half of them. Which ones is by row seed.
    """
    from anylatent import random

    chosen = random.uniform(noised.seeds, "self-conditioning", step, 0, 1)[:, 0] < denoiser.backbone.self_conditioning
    found = {name: torch.zeros_like(stream.values) for name, stream in noised.streams.items()}
    if chosen.any():
        rows = noised.select(chosen)
        with torch.no_grad():
            clean = denoiser(rows, condition.select(chosen))
        torch.clear_autocast_cache()  # else the pass that learns would take over weights that were cast without gradient
        known = {name: stream.mask & (stream.time < 1) for name, stream in rows.streams.items()}
        for name, x in denoiser.heard(clean, known).items():
            found[name][chosen] = x.to(found[name].dtype)
    return noised.with_told(found)


def _inside(t: Tensor) -> Tensor:
    """Any time inside in place of 0 and 1, where some conversions divide by 0, for tokens that do not count."""
    return torch.where((t > 0) & (t < 1), t, 0.5)


def _places(clean: "State", stream: str) -> Tensor:
    """Which tokens `(B, N)` share a place on the first axis, as whole numbers from 0; without axes each has its own."""
    positions, mask = clean[stream].positions, clean[stream].mask
    rows, tokens, axes = positions.shape
    if not axes:
        return torch.arange(tokens, device=clean.device).expand(rows, -1)
    along = positions[..., 0].masked_fill(~mask, torch.inf)
    ordered = along.sort(1).values
    new = torch.nn.functional.pad(ordered.diff(dim=1) > 1e-4, (1, 0))
    return torch.gather(new.cumsum(1), 1, torch.searchsorted(ordered, along.contiguous()))
