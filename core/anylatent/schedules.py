"""The times that a sampler visits, from the path's start (near 1) to 0."""

from typing import TYPE_CHECKING

from pydantic import Field

from anylatent.lazy import torch
from anylatent.node import Node
from anylatent.paths.base import GaussianPath, Path
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.state import Stream


class Schedule(Node, family="schedule"):
    """Chooses `n + 1` decreasing times, the last of them 0. Made once a request, in double, and kept as a table."""

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        """`n + 1` times from `start` to 0, float64. Errors: `ValueError` if the schedule does not suit the path."""
        raise NotImplementedError

    def token_times(self, n: int, path: Path, start: float, stream: "Stream", spec: StreamSpec) -> Tensor | None:
        """Times of their own for each token `(B, steps + 1, N)`, float64, by its place; None: all tokens of all rows have `times`."""
        return None


def _ramp(n: int) -> Float[Tensor, " times"]:
    if n < 1:
        raise ValueError(f"a schedule needs at least 1 step, given {n}")
    return torch.linspace(1, 0, n + 1, dtype=torch.float64)


def _shifted(t: Tensor, shift: float) -> Tensor:
    return shift * t / (1 + (shift - 1) * t)


class Uniform(Schedule, kind="uniform"):
    """Equal steps in t, then shifted towards the prior: t -> shift t / (1 + (shift - 1) t) (Esser et al. 2024, 2403.03206, eq. 23)."""

    shift: float = Field(default=1.0, gt=0, description="Over 1: more steps at high noise (for more tokens). 1: none.")

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        return start * _shifted(_ramp(n), self.shift)


class Rho(Schedule, kind="edm"):
    """Equal steps in (sigma / alpha)^(1 / rho), then 0 (Karras et al. 2022, 2206.00364, eq. 5), on any Gaussian path."""

    rho: float = Field(default=7.0, ge=1, description="1: equal steps in noise level; larger: more of them at low noise.")
    ratio_min: float = Field(default=0.002, gt=0, description="The last noise-to-signal ratio before 0.")
    ratio_max: float = Field(default=80.0, gt=0, description="The first noise-to-signal ratio; the path's start if that is lower.")

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        if not isinstance(path, GaussianPath):
            raise ValueError(f"schedule 'edm' spaces noise-to-signal ratios; the path '{path.kind}' has none: use 'uniform'")
        first = path.time_of(torch.tensor(self.ratio_max, dtype=torch.float64)).clamp(max=start)
        if n == 1:
            return torch.stack((first, torch.zeros_like(first)))
        ratio_max = path.sigma(first) / path.alpha(first)
        high, low = ratio_max ** (1 / self.rho), self.ratio_min ** (1 / self.rho)
        ratios = (low + _ramp(n - 1) * (high - low)) ** self.rho
        return torch.cat((first[None], path.time_of(ratios[1:]), torch.zeros(1, dtype=torch.float64)))


class LogitNormal(Schedule, kind="logit-normal-shifted"):
    """Quantiles of the logit-normal times that training saw most (Esser et al. 2024, 2403.03206, eq. 19), then shifted."""

    mean: float = Field(default=0.0, description="Of logit(t); above 0: more steps at high noise.")
    std: float = Field(default=1.0, gt=0, description="Of logit(t); small: steps crowd in the middle.")
    shift: float = Field(default=1.0, gt=0, description="As in `uniform`.")

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        # The quantile of 1 is infinity, whose sigmoid is 1: the ends are exact.
        t = (self.mean + self.std * torch.special.ndtri(_ramp(n))).sigmoid()
        return start * _shifted(t, self.shift)
