"""Which times training sees: densities, as their quantiles."""

import math
from typing import ClassVar, Literal

from pydantic import Field

from anylatent.lazy import torch
from anylatent.node import Node
from anylatent.paths.base import Path, as_gaussian
from anylatent.types import Float, Tensor


class TimeDensity(Node, family="times"):
    """Which times training sees."""

    gaussian: ClassVar[bool] = False
    """Whether it is a density of noise levels, which only Gaussian paths have."""

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

    systems: ClassVar[tuple[str, ...]] = ("SD3 (2403.03206)",)

    mean: float = Field(default=0.0, description="Of logit(t).")
    std: float = Field(default=1.0, gt=0, description="Of logit(t).")
    ends: float = Field(default=0.1, ge=0, le=1, description="Share of rows with uniform times instead.")

    def times(self, u: Float[Tensor, " rows"], path: Path) -> Float[Tensor, " rows"]:
        inside = ((u - self.ends) / (1 - self.ends)).clamp(1e-6, 1 - 1e-6) if self.ends < 1 else u
        normal = (self.mean + self.std * torch.special.ndtri(inside)).sigmoid()
        return torch.where(u < self.ends, u / max(self.ends, 1e-6), normal)


class LogNormalTimes(TimeDensity, kind="log-normal"):
    """The logarithm of the noise-to-signal ratio is normal (Karras et al. 2022, 2206.00364, table 1: mean -1.2, std 1.2)."""

    gaussian: ClassVar[bool] = True
    systems: ClassVar[tuple[str, ...]] = ("EDM (2206.00364)",)

    mean: float = Field(default=-1.2, description="Of ln(sigma / alpha).")
    std: float = Field(default=1.2, gt=0, description="Of ln(sigma / alpha).")

    def times(self, u: Float[Tensor, " rows"], path: Path) -> Float[Tensor, " rows"]:
        return as_gaussian(path).time_of((self.mean + self.std * torch.special.ndtri(u)).exp()).clamp(1e-6, 1.0)


class LogSNRTimes(TimeDensity, kind="log-snr"):
    """lambda = ln(alpha^2 / sigma^2) has a density of its own, whatever the path (Hang et al. 2024, 2407.03297, table 1).

    At mean 0 most is learned where signal and noise are alike; the mean moves that (the SNR density of FasterDiT,
    2410.10356: there by scaling the data). `laplace` has heavier tails than `normal`, `cauchy` much heavier ones.
    """

    gaussian: ClassVar[bool] = True
    systems: ClassVar[tuple[str, ...]] = (
        "Improved Noise Schedule for Diffusion Training (2407.03297)", "FasterDiT, SNR density (2410.10356)", "VDM++ (2303.00848)",
    )  # fmt: skip

    shape: Literal["normal", "laplace", "cauchy", "logistic", "sech"] = Field(
        default="laplace",
        description="Of the density of lambda. At scale 1 `logistic` is uniform t on the path `rectified`, `sech` on `cosine`.",
    )
    mean: float = Field(default=0.0, description="The middle of lambda; below 0: more noise.")
    scale: float = Field(default=0.5, gt=0, description="The width of lambda, as the shape understands it.")

    def times(self, u: Float[Tensor, " rows"], path: Path) -> Float[Tensor, " rows"]:
        path = as_gaussian(path)
        # Quantiles of -lambda: noise rises with u. All shapes are symmetric.
        match self.shape:
            case "normal":
                quantile = torch.special.ndtri(u)
            case "laplace":
                quantile = -(u - 0.5).sign() * (1 - 2 * (u - 0.5).abs()).log()
            case "cauchy":
                quantile = (math.pi * (u - 0.5)).tan()
            case "logistic":
                quantile = 2 * u.logit()
            case "sech":
                quantile = 2 * (math.pi / 2 * u).tan().log()
        half = ((self.scale * quantile - self.mean) / 2).clamp(-40, 40)
        return path.time_of(half.exp()).clamp(1e-6, 1 - 1e-6)


class UShapedTimes(TimeDensity, kind="u-shaped"):
    """Both ends are seen most: p(t) ~ exp(a t) + exp(a (1 - t)) (Lee et al. 2024, 2405.20320).

    Made for pairs of noise and what was made of it (the coupling `stored`), where the middle is easy.
    """

    systems: ClassVar[tuple[str, ...]] = ("2-rectified flow++ (2405.20320)",)

    steepness: float = Field(default=4.0, gt=0, description="a; towards 0 all times are alike.")

    def times(self, u: Float[Tensor, " rows"], path: Path) -> Float[Tensor, " rows"]:
        rise = math.sinh(self.steepness / 2)
        return (0.5 + ((2 * u - 1) * rise).asinh() / self.steepness).clamp(1e-6, 1 - 1e-6)
