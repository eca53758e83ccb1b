"""Gaussian paths that are given by their noise-to-signal ratio."""

from abc import abstractmethod
from typing import ClassVar, Literal

from pydantic import Field

from anylatent.paths.base import GaussianPath
from anylatent.types import Tensor


class RatioPath(GaussianPath):
    """A path that is one function r(t) = sigma / alpha, finite on [0, 1] with r(0) = 0, and what stays constant on the way.

    alpha and sigma follow from r, as do their slopes. Two paths of one r that keep something else are the same path seen
    at another scale (Karras et al. 2022, 2206.00364, sec. 3; Kingma et al. 2021, 2107.00630, sec. 5.1).
    """

    keeps: Literal["variance", "sum", "data"] = Field(
        default="variance", description="What is constant: alpha^2 + sigma^2 (VP), alpha + sigma (straight lines), or alpha (VE)."
    )
    shift: float = Field(
        default=1.0, gt=0, description="Multiplies sigma / alpha: over 1 for many tokens that tell of each other (2301.11093)."
    )

    @abstractmethod
    def _ratio(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """r(t) before the shift, and its slope."""

    @abstractmethod
    def _time(self, ratio: Tensor) -> Tensor:
        """The inverse of `_ratio`."""

    def ratio(self, t: Tensor) -> Tensor:
        """sigma / alpha."""
        return self._ratio(t)[0] * self.shift

    def alpha(self, t: Tensor) -> Tensor:
        ratio = self.ratio(t)
        match self.keeps:
            case "variance":
                return (1 + ratio**2).rsqrt()
            case "sum":
                return 1 / (1 + ratio)
            case "data":
                return ratio.new_ones(ratio.shape)

    def sigma(self, t: Tensor) -> Tensor:
        return self.ratio(t) * self.alpha(t)

    def alpha_dot(self, t: Tensor) -> Tensor:
        ratio, slope = (each * self.shift for each in self._ratio(t))
        match self.keeps:
            case "variance":
                return -ratio * slope * self.alpha(t) ** 3
            case "sum":
                return -slope * self.alpha(t) ** 2
            case "data":
                return ratio.new_zeros(ratio.shape)

    def sigma_dot(self, t: Tensor) -> Tensor:
        slope = self._ratio(t)[1] * self.shift
        match self.keeps:
            case "variance":
                return slope * self.alpha(t) ** 3
            case "sum":
                return slope * self.alpha(t) ** 2
            case "data":
                return slope

    def time_of(self, ratio: Tensor) -> Tensor:
        return self._time(ratio / self.shift)

    def scale(self, t: Tensor) -> Tensor | None:
        """Where noise grows without bound, EDM's c_in; nothing elsewhere."""
        return (self.data_std**2 + self.ratio(t) ** 2).rsqrt() if self.keeps == "data" else None


class LinearBeta(RatioPath, kind="vp"):
    """DDPM's path: noise is added at a rate beta that rises linearly (Ho et al. 2020, 2006.11239; Song et al. 2020, 2011.13456, eq. 33).

    r^2 = exp(integral of beta) - 1. The slope of sigma is infinite at t = 0: predict noise, data or `preconditioned`
    rather than velocity.
    """

    systems: ClassVar[tuple[str, ...]] = ("DDPM (2006.11239)", "Score SDE, VP (2011.13456)", "SiT, VP (2401.08740)")

    beta_min: float = Field(default=0.1, gt=0, description="The rate at t = 0.")
    beta_max: float = Field(default=20.0, gt=0, description="The rate at t = 1.")

    def _ratio(self, t: Tensor) -> tuple[Tensor, Tensor]:
        rise = self.beta_max - self.beta_min
        spent = t * (self.beta_min + t * (rise / 2))
        ratio = spent.expm1().sqrt()
        return ratio, (self.beta_min + t * rise) * spent.exp() / (2 * ratio)

    def _time(self, ratio: Tensor) -> Tensor:
        spent = (ratio**2).log1p()
        return 2 * spent / (self.beta_min + (self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * spent).sqrt())


class Sigmoid(RatioPath, kind="sigmoid"):
    """alpha^2 falls along a piece of the sigmoid curve (Jabri et al. 2022, 2212.11972; Chen 2023, 2301.10972, sec. 2.1).

    A long piece spends less time at both ends. alpha^2 ends at `left` rather than at 0, so that all stays finite.
    """

    systems: ClassVar[tuple[str, ...]] = ("RIN (2212.11972)", "On the importance of noise scheduling (2301.10972)")

    begin: float = Field(default=-3.0, description="Where on the sigmoid curve the path begins, over the temperature.")
    end: float = Field(default=3.0, description="Where it ends.")
    left: float = Field(default=1e-4, gt=0, lt=1, description="alpha^2 at t = 1.")

    def _ends(self, t: Tensor) -> tuple[Tensor, Tensor]:
        begin, end = (t.new_tensor(place).sigmoid() for place in (self.begin, self.end))
        return begin, (end - begin) / (1 - self.left)

    def _ratio(self, t: Tensor) -> tuple[Tensor, Tensor]:
        begin, span = self._ends(t)
        way = t * (self.end - self.begin)
        here = (self.begin + way).sigmoid()
        # sigmoid(b) - sigmoid(a) without cancellation: sigmoid(b) sigmoid(-a) (1 - exp(a - b)).
        spent = here * (1 - begin) * -(-way).expm1() / span
        slope = here * (1 - here) * (self.end - self.begin) / span
        ratio = (spent / (1 - spent)).sqrt()
        return ratio, slope / (2 * ratio * (1 - spent) ** 2)

    def _time(self, ratio: Tensor) -> Tensor:
        begin, span = self._ends(ratio)
        spent = (ratio**2 / (1 + ratio**2)).clamp(max=1 - self.left)
        return ((begin + spent * span).logit() - self.begin) / (self.end - self.begin)


class Logistic(RatioPath, kind="logistic"):
    """alpha^2 is a logistic function of t: no slope is infinite, at the data end least of all (Lin et al. 2024, 2410.18756).

    Their ratio exp(steepness (t - middle) / 2) is not 0 at t = 0; here it is taken less what it has there.
    """

    systems: ClassVar[tuple[str, ...]] = ("Schedule Your Edit, logistic schedule (2410.18756)",)

    steepness: float = Field(default=15.0, gt=0, description="How fast the log-SNR falls: their 0.015 a step of 1000.")
    middle: float = Field(default=0.6, gt=0, lt=1, description="The time at which signal and noise are nearly alike.")

    def _ratio(self, t: Tensor) -> tuple[Tensor, Tensor]:
        half = self.steepness / 2
        first = t.new_tensor(-half * self.middle).exp()
        return first * (half * t).expm1(), first * half * (half * t).exp()

    def _time(self, ratio: Tensor) -> Tensor:
        half = self.steepness / 2
        return (ratio / ratio.new_tensor(-half * self.middle).exp()).log1p() / half


class Geometric(RatioPath, kind="ve"):
    """The variance-exploding path: the noise level grows by equal factors (Song et al. 2020, 2011.13456, eq. 31).

    Less its level at t = 0, so that t = 0 is data. The tokens that a network sees are scaled by EDM's c_in.
    """

    systems: ClassVar[tuple[str, ...]] = ("NCSN (1907.05600)", "Score SDE, VE (2011.13456)")

    keeps: Literal["variance", "sum", "data"] = Field(default="data", description="As in `vp`; `data` is VE.")
    ratio_min: float = Field(default=0.01, gt=0, description="The noise level that the factors begin from.")
    ratio_max: float = Field(default=50.0, gt=0, description="About the noise level at t = 1, in units of the data's.")

    def _ratio(self, t: Tensor) -> tuple[Tensor, Tensor]:
        octaves = t.new_tensor(self.ratio_max / self.ratio_min).log()
        return self.ratio_min * (t * octaves).expm1(), self.ratio_min * octaves * (t * octaves).exp()

    def _time(self, ratio: Tensor) -> Tensor:
        return (ratio / self.ratio_min).log1p() / ratio.new_tensor(self.ratio_max / self.ratio_min).log()


class Brownian(RatioPath, kind="brownian"):
    """x_t = x0 + scale sqrt(t) x1: Brownian motion from the data, the usual reference of a bridge.

    Velocities are infinite at t = 0: predict data or noise.
    """

    keeps: Literal["variance", "sum", "data"] = Field(default="data", description="As in `vp`; `data` is Brownian motion itself.")
    spread: float = Field(default=1.0, gt=0, description="The standard deviation at t = 1, in units of the data's.")

    def _ratio(self, t: Tensor) -> tuple[Tensor, Tensor]:
        root = t.sqrt()
        return self.spread * root, self.spread / (2 * root)

    def _time(self, ratio: Tensor) -> Tensor:
        return (ratio / self.spread) ** 2
