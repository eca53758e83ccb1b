"""Exponential integrators: the linear part of the ODE (or SDE) is solved exactly, the prediction is a polynomial."""

from collections.abc import Callable
from typing import ClassVar, Literal

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import GaussianPath, Path
from anylatent.solvers.base import Multistep, Parameter, meaning
from anylatent.solvers.integrals import spread, weights
from anylatent.types import Float, Tensor

Variable = Literal["log-snr", "ratio", "time"]
"""What predictions are polynomials of: lambda = ln(alpha / sigma), sigma / alpha, or t."""

Line = Literal["exact", "bh1", "bh2"]
"""How a line through two predictions is integrated: exactly, or as its middle value times B(h) = h or exp(h) - 1 (UniPC, eq. 11)."""

NoiseLevel = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Which of the SDEs with the same marginals: from r = ln(sigma / alpha), ln(phi) - r and d ln(phi) / dr.

A step keeps phi_s / phi_t of the old noise: phi = sigma / alpha is the ODE, larger powers are SDEs (Cui et al. 2023,
2309.06169, sec. 3.2).
"""


def reverse(eta: float) -> NoiseLevel:
    """phi = (sigma / alpha)^(1 + eta): 0 is the ODE, 1 the reverse SDE (of DDPM and SDE-DPM-Solver++)."""
    return lambda r: (eta * r if eta else torch.zeros_like(r), torch.full_like(r, 1 + eta))


ODE = reverse(0)


def log_snr(path: GaussianPath, times: Tensor) -> Tensor:
    """lambda = ln(alpha / sigma); infinite where there is nothing but noise or data, though alpha or sigma be only nearly 0."""
    lam = path.alpha(times).log() - path.sigma(times).log()
    return torch.where(lam.abs() < 20, lam, lam.sign() * torch.inf)


_NOTHING = 1e-9
"""The signal-to-noise ratio below which a step begins from noise alone: that of paths which end in it, but for rounding."""


def linear(path: GaussianPath, times: Tensor, level: NoiseLevel = ODE) -> tuple[Tensor, Tensor, Tensor]:
    """a, b, c of the exact move if the prediction stayed constant: x_s = a x_t + b d + c z.

    Written so that alpha_t = 0 and sigma_s = 0 are exact. b = alpha_s - alpha_t a and c^2 = sigma_s^2 - (sigma_t a)^2: with them any `a`
    keeps the marginals. Where all is noise it is kept: an SDE would draw all of it anew, which is the same distribution,
    but the sample would no longer be the one that the prior's noise says, nor that of the ODE as new noise goes to 0.
    """
    alpha, sigma = path.alpha(times), path.sigma(times)
    beyond, _ = level(sigma.log() - alpha.log())
    kept = (alpha[:-1] < _NOTHING * sigma[:-1]) & (sigma[1:] > 0)
    beyond_step = beyond.diff(dim=0).masked_fill(kept, 0.0)
    a = (sigma.log().diff(dim=0) + beyond_step).exp()
    return a, alpha[1:] - alpha[:-1] * a, sigma[1:] * torch.expm1(2 * beyond_step).neg().clamp(min=0).sqrt()


def integrand(
    path: GaussianPath,
    times: Tensor,
    parameter: Literal["data", "noise"],
    variable: Variable = "log-snr",
    line: Line = "exact",
    level: NoiseLevel = ODE,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """What `weights` needs of the integral over each step: the variable at all times, at its places, their weights, the middle's.

    For data it is alpha_s phi_s int d(1 / phi) m, for noise -alpha_s int exp(-lambda) m dlambda.
    """
    alpha, sigma = path.alpha(times), path.sigma(times)
    lam = log_snr(path, times)
    at, width = spread(lam[:-1], lam[1:])
    if parameter == "data":
        (beyond, slope), (beyond_s, _) = level(-at), level(-lam[1:])
        weight = alpha[1:] * slope * (beyond_s - lam[1:] - beyond + at).exp() * width
    else:
        weight = -sigma[1:] * (lam[1:] - at).exp() * width
    h = alpha[1:] * lam.diff(dim=0) if parameter == "data" else -sigma[1:] * lam.diff(dim=0)
    middle = {"exact": None, "bh1": h, "bh2": weight.sum(0)}[line]
    match variable:
        case "log-snr":
            return lam, at, weight, middle
        case "ratio":
            return (-lam).exp(), (-at).exp(), weight, middle
        case "time":
            return times, path.time_of((-at).exp()), weight, middle


def columns(
    path: GaussianPath,
    times: Tensor,
    order: int,
    parameter: Literal["data", "noise"] = "data",
    variable: Variable = "log-snr",
    line: Line = "exact",
    level: NoiseLevel = ODE,
) -> list[Tensor]:
    """The columns a, b_0 … b_{order - 1} and c of the multistep integrator of that order."""
    a, b, c = linear(path, times, level)
    u, at, weight, middle = integrand(path, times, parameter, variable, line, level)
    w = weights(u, at, weight, range(1, order), middle)
    # The integral has sum_k w_k (m_k - m_0), where m_0 = p x + q d.
    p, q = meaning(path, times[:-1], parameter)
    total = torch.stack(w).sum(0) if w else torch.zeros_like(a)
    return [a - total * p, b - total * q, *w, c]


class Exponential(Multistep, kind="exponential"):
    """Exponential Adams-Bashforth in the data or the noise prediction, of any order and in any variable, integrated exactly.

    Lu et al. 2022 (2211.01095, eq. 9; 2206.00927, eq. 3.4) with the Lagrange polynomial through the last `order` predictions
    (Zhang & Chen 2022, 2204.13902, eq. 15). Lower orders while there is no past, after infinite noise and in the step to t = 0,
    where lambda is infinite. `dpm++2m`, `dpm++3m` and `deis` are cases of it, `ddim` is its order 1.
    """

    order: int = Field(default=2, ge=1, le=4, description="Predictions that the polynomial goes through.")
    parameter: Literal["data", "noise"] = Field(default="data", description="What is taken to be a polynomial.")
    variable: Variable = Field(default="log-snr", description="Of what: ln(alpha / sigma), sigma / alpha, or t.")

    @property
    def history(self) -> int:
        return self.order - 1

    @property
    def remembers(self) -> Parameter:
        return self.parameter

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        return columns(path, times, self.order, self.parameter, self.variable)[:-1]


class DEIS(Multistep, kind="deis"):
    """Exponential integrator in the noise prediction: tAB-DEIS (in t) and rhoAB-DEIS (in sigma / alpha) of Zhang & Chen 2022.

    2204.13902, eq. 15 and app. B. With `ratio` on `edm` it is the linear multistep method of Karras et al. and k-diffusion.
    """

    systems: ClassVar[tuple[str, ...]] = ("DEIS (2204.13902)",)
    remembers: ClassVar[Parameter] = "noise"

    order: int = Field(default=3, ge=1, le=4, description="Predictions that the polynomial goes through.")
    variable: Variable = Field(default="time", description="What it is a polynomial of: t, sigma / alpha, or ln(alpha / sigma).")

    @property
    def history(self) -> int:
        return self.order - 1

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        return columns(path, times, self.order, "noise", self.variable)[:-1]


class SDEDPMpp(Multistep, kind="sde-dpm++"):
    """SDE-DPM-Solver++: the reverse SDE, its linear part and its noise exact (Lu et al. 2022, 2211.01095, eq. 19 and app. A).

    At order 1 and `eta` 1 it is `ancestral`, but for a first step from pure noise, which keeps it. `eta` 0 is the multistep
    DPM-Solver++ of that order. There is no third order: with noise between the predictions a parabola through three of them
    gains nothing.
    """

    stochastic: ClassVar[bool] = True
    systems: ClassVar[tuple[str, ...]] = ("SDE-DPM-Solver++ (2211.01095)",)

    order: int = Field(default=2, ge=1, le=2, description="Predictions that the polynomial goes through.")
    eta: float = Field(default=1.0, ge=0, description="How much noise is new: 0 is the ODE, 1 the reverse SDE.")

    def renews(self, path: Path) -> bool:
        return self.eta == 1

    @property
    def history(self) -> int:
        return self.order - 1

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        return columns(path, times, self.order, level=reverse(self.eta))


class ERSDE(Multistep, kind="er-sde"):
    """ER-SDE-Solver: an SDE with less new noise at high noise levels than the reverse SDE (Cui et al. 2023, 2309.06169).

    Algorithms 2 and 3 with the noise scale ER-SDE 5, phi = q (exp(q^0.3) + 10) of q = sigma / alpha (eq. 20). The prediction is a
    polynomial in q, integrated exactly; their third stage uses one-sided differences instead. With noise between the predictions a
    third one makes errors smaller, but its order stays 2.
    """

    stochastic: ClassVar[bool] = True
    systems: ClassVar[tuple[str, ...]] = ("ER-SDE-Solver (2309.06169)",)

    points: int = Field(default=3, ge=1, le=3, description="Predictions that the polynomial goes through.")

    @property
    def order(self) -> int:
        return min(self.points, 2)

    @property
    def history(self) -> int:
        return self.points - 1

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        return columns(path, times, self.points, variable="ratio", level=_extended)


def _extended(r: Tensor) -> tuple[Tensor, Tensor]:
    power, ten = (0.3 * r).exp(), r.new_tensor(10.0).log()
    return torch.logaddexp(power, ten), 1 + 0.3 * power * (power - ten).sigmoid()
