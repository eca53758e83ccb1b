"""Schedules that are a formula."""

import math
from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import GaussianPath, Path
from anylatent.schedules.base import Schedule, ramp, shifted
from anylatent.types import Float, Tensor

_TERMS = 20
"""Of the continued fraction of the Beta distribution: exact to 1e-9 for parameters up to 10."""


class Uniform(Schedule, kind="uniform"):
    """Equal steps in t, then shifted towards the prior: t -> shift t / (1 + (shift - 1) t) (Esser et al. 2024, 2403.03206, eq. 23)."""

    systems: ClassVar[tuple[str, ...]] = ("SD3, resolution shift (2403.03206)",)

    shift: float = Field(default=1.0, gt=0, description="Over 1: more steps at high noise (for more tokens). 1: none.")

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        return start * shifted(ramp(n), self.shift)


class Rho(Schedule, kind="edm"):
    """Equal steps in (sigma / alpha)^(1 / rho), then 0 (Karras et al. 2022, 2206.00364, eq. 5), on any Gaussian path."""

    systems: ClassVar[tuple[str, ...]] = ("EDM (2206.00364)",)

    rho: float = Field(default=7.0, ge=1, description="1: equal steps in noise level; larger: more of them at low noise.")
    ratio_min: float = Field(default=0.002, gt=0, description="The last noise-to-signal ratio before 0.")
    ratio_max: float = Field(default=80.0, gt=0, description="The first noise-to-signal ratio; the path's start if that is lower.")

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        if not isinstance(path, GaussianPath):
            raise ValueError(f"schedule 'edm' spaces noise-to-signal ratios; the path '{path.kind}' has none: use 'uniform'")
        first = path.time_of(torch.tensor(self.ratio_max, dtype=torch.float64)).clamp(max=start)
        if len(ramp(n)) == 2:
            return torch.stack((first, torch.zeros_like(first)))
        ratio_max = path.sigma(first) / path.alpha(first)
        high, low = ratio_max ** (1 / self.rho), self.ratio_min ** (1 / self.rho)
        ratios = (low + ramp(n - 1) * (high - low)) ** self.rho
        return torch.cat((first[None], path.time_of(ratios[1:]), torch.zeros(1, dtype=torch.float64)))


class LogitNormal(Schedule, kind="logit-normal-shifted"):
    """Quantiles of the logit-normal times that training saw most (Esser et al. 2024, 2403.03206, eq. 19), then shifted."""

    mean: float = Field(default=0.0, description="Of logit(t); above 0: more steps at high noise.")
    std: float = Field(default=1.0, gt=0, description="Of logit(t); small: steps crowd in the middle.")
    shift: float = Field(default=1.0, gt=0, description="As in `uniform`.")

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        # The quantile of 1 is infinity, whose sigmoid is 1: the ends are exact.
        t = (self.mean + self.std * torch.special.ndtri(ramp(n))).sigmoid()
        return start * shifted(t, self.shift)


class CosineSteps(Schedule, kind="cosine"):
    """t = cos(pi i / 2n): short steps at first, long ones at last (Chang et al. 2022, 2202.04200, sec. 3.3).

    MaskGIT's: few tokens are unmasked while little is known. On Gaussian paths: most steps at high noise.
    """

    systems: ClassVar[tuple[str, ...]] = ("MaskGIT (2202.04200)",)

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        # As a sine of what is left: the last is 0 exactly.
        return start * (ramp(n) * (math.pi / 2)).sin()


class BetaSteps(Schedule, kind="beta"):
    """Quantiles of a Beta distribution: below 1, more steps at both ends (Lee et al. 2024, 2407.12173)."""

    systems: ClassVar[tuple[str, ...]] = ("Beta Sampling (2407.12173)",)

    prior: float = Field(default=0.6, gt=0, le=10, description="Below 1: more steps near t = 1. 1, with `data` 1: equal steps.")
    data: float = Field(default=0.6, gt=0, le=10, description="Below 1: more steps near t = 0.")

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        return start * _beta_quantile(ramp(n), self.data, self.prior)


def _beta_quantile(share: Tensor, a: float, b: float) -> Tensor:
    """Where the Beta(a, b) distribution function is `share` in [0, 1], by bisection."""
    low, high = torch.zeros_like(share), torch.ones_like(share)
    for _ in range(50):
        middle = (low + high) / 2
        below = _beta_share(middle, a, b) < share
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.where(share == 0, 0.0, torch.where(share == 1, 1.0, high))


def _beta_share(x: Tensor, a: float, b: float) -> Tensor:
    """The Beta distribution function by its continued fraction, from the side on which that converges fast (DLMF 8.17.22)."""
    near = x < (a + 1) / (a + b + 2)
    ends = x.new_tensor([a, b])  # torch.where makes single precision of two plain numbers
    x, first, second = torch.where(near, x, 1 - x), torch.where(near, *ends), torch.where(near, *ends.flip(0))
    fraction = torch.ones_like(x)
    for m in range(_TERMS, 0, -1):  # from the inside out
        even = m * (second - m) * x / ((first + 2 * m - 1) * (first + 2 * m))
        odd = -(first + m) * (a + b + m) * x / ((first + 2 * m) * (first + 2 * m + 1))
        fraction = 1 + even / (1 + odd / fraction)
    scale = (first * x.log() + second * (-x).log1p() + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)).exp() / first
    share = scale / (1 - (a + b) * x / (first + 1) / fraction)
    return torch.where(near, share, 1 - share)
