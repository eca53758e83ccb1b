"""What training minimises: a path, what is predicted, which times are seen and how much they count."""

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from anylatent.lazy import torch
from anylatent.node import Node, Spec
from anylatent.paths.base import GaussianPath, Path, Prediction
from anylatent.paths.rectified import Rectified
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.condition import Condition
    from anylatent.denoiser import Denoiser
    from anylatent.state import State


class TimeDensity(Node, family="times"):
    """Which times training sees."""

    def times(self, u: Float[Tensor, " rows"], path: Path) -> Float[Tensor, " rows"]:
        """Times in (0, 1) of uniform numbers `u` in (0, 1): the density's quantiles."""
        raise NotImplementedError


class UniformTimes(TimeDensity, kind="uniform"):
    """All times alike."""

    def times(self, u: Float[Tensor, " rows"], path: Path) -> Float[Tensor, " rows"]:
        return u


class LogitNormalTimes(TimeDensity, kind="logit-normal"):
    """logit(t) is normal: the middle is seen most (Esser et al. 2024, 2403.03206, eq. 19); `ends` of the rows see all times alike.

    Without some rows at the ends, a solver that asks near t = 1 asks what training never saw.
    """

    mean: float = Field(default=0.0, description="Of logit(t).")
    std: float = Field(default=1.0, gt=0, description="Of logit(t).")
    ends: float = Field(default=0.1, ge=0, le=1, description="Share of rows with uniform times instead.")

    def times(self, u: Float[Tensor, " rows"], path: Path) -> Float[Tensor, " rows"]:
        inside = ((u - self.ends) / (1 - self.ends)).clamp(1e-6, 1 - 1e-6) if self.ends < 1 else u
        normal = (self.mean + self.std * torch.special.ndtri(inside)).sigmoid()
        return torch.where(u < self.ends, u / max(self.ends, 1e-6), normal)


class LogNormalTimes(TimeDensity, kind="log-normal"):
    """The logarithm of the noise-to-signal ratio is normal (Karras et al. 2022, 2206.00364, table 1: mean -1.2, std 1.2)."""

    mean: float = Field(default=-1.2, description="Of ln(sigma / alpha).")
    std: float = Field(default=1.2, gt=0, description="Of ln(sigma / alpha).")

    def times(self, u: Float[Tensor, " rows"], path: Path) -> Float[Tensor, " rows"]:
        assert isinstance(path, GaussianPath), "checked by `Objective`"
        return path.time_of((self.mean + self.std * torch.special.ndtri(u)).exp()).clamp(1e-6, 1.0)


class StreamObjective(Spec):
    """What differs for one stream of several."""

    path: Path | None = None
    prediction: Prediction | None = None
    times: TimeDensity | None = None
    weight: float = Field(default=1.0, ge=0, description="How much the stream's loss counts.")


class Objective(Node):
    """Denoising: the mean squared error of the prediction over valid tokens that are not given.

    Numbers are drawn by (row seed, training step): a row's loss does not depend on its batch, and resuming needs no
    generator state.
    """

    path: Path = Rectified()
    prediction: Prediction = Field(default="velocity", description="What the backbone's output means.")
    times: TimeDensity = LogitNormalTimes()
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
    streams: dict[str, StreamObjective] = Field(default={}, description="What differs, by stream.")

    @property
    def completes(self) -> bool:
        """Whether training sees given tokens as they will be given: clean, at time 0."""
        return self.completion > 0 or self.given > 0

    @model_validator(mode="after")
    def _suits(self) -> "Objective":
        own = [(stream.path or self.path, stream.times or self.times) for stream in self.streams.values()]
        for path, times in ((self.path, self.times), *own):
            if isinstance(times, LogNormalTimes) and not isinstance(path, GaussianPath):
                raise ValueError(f"times 'log-normal' need a Gaussian path, given '{path.kind}'")
        if self.given + self.absent > 1:
            raise ValueError(f"shares of rows: given {self.given} and absent {self.absent} are more than all of them")
        return self

    def of(self, stream: str) -> tuple[Path, Prediction]:
        """The path and the prediction of a stream."""
        own = self.streams.get(stream, StreamObjective())
        return own.path or self.path, own.prediction or self.prediction

    def corrupt(self, clean: "State", denoiser: "Denoiser", step: int) -> "tuple[State, dict[str, Tensor]]":
        """The noised state and the target `(B, N, C)` of each stream."""
        from anylatent import random

        targets: dict[str, Tensor] = {}
        noised, times = clean, {}
        whole, nothing = self._roles(clean, denoiser, step)
        for spec in denoiser.specs:
            stream, (path, prediction) = clean[spec.name], self.of(spec.name)
            rows, tokens, _ = stream.shape
            shared = "times" if self.together else f"times/{spec.name}"
            density = self.streams.get(spec.name, StreamObjective()).times or self.times
            t = density.times(random.uniform(clean.seeds, shared, step, 0, 1)[:, 0], path)
            given = whole.get(spec.name, torch.tensor(spec.given, device=t.device))
            keep = stream.keep | self._kept(clean, spec.name, step) | (given[..., None] & stream.mask)
            x1 = path.prior(spec, clean.noise(spec.name, step, 0), stream.mask)
            t = t.masked_fill(nothing[spec.name], 1.0) if spec.name in nothing else t
            t = t[:, None, None].expand(rows, tokens, 1).masked_fill(keep[..., None], 0.0)
            times[spec.name] = t[..., 0]
            inside = t.masked_fill(keep[..., None], 0.5)
            targets[spec.name] = path.target(prediction, stream.values, x1, inside)
            noised = noised.with_values({spec.name: path.corrupt(stream.values, x1, t)})
            noised = noised.with_kept(spec.name, keep)
        return noised.with_time(times), targets

    def _roles(self, clean: "State", denoiser: "Denoiser", step: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
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
        """The loss of each row: squared error of the prediction, mean over channels and over tokens that are neither given nor absent."""
        noised, targets = self.corrupt(clean, denoiser, step)
        predictions = denoiser.predict(noised, condition)
        total = torch.zeros(len(clean), device=clean.device)
        for name, target in targets.items():
            stream = noised[name]
            counts = (stream.mask & ~stream.keep & (stream.time < 1)).float()
            error = (predictions[name].float() - target).square().mean(-1)
            own = self.streams.get(name, StreamObjective()).weight
            total = total + own * (error * counts).sum(1) / counts.sum(1).clamp(min=1)
        return total
