"""DDIM and its stochastic relatives: the exact move if the prediction stayed constant."""

from typing import ClassVar

from pydantic import Field

from anylatent.paths.base import GaussianPath, Path
from anylatent.solvers.base import Multistep, OneStep
from anylatent.types import Float, Tensor


def _implicit(path: GaussianPath, times: Tensor, eta: float) -> list[Tensor]:
    """x_s = alpha_s d + sqrt(sigma_s^2 - up^2) eps + up z (Song et al. 2020, 2010.02502, eq. 12 and 16, for any alpha, sigma)."""
    t, s = times[:-1], times[1:]
    alpha_t, sigma_t, alpha_s, sigma_s = path.alpha(t), path.sigma(t), path.alpha(s), path.sigma(s)
    up = eta * sigma_s * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2).clamp(min=0).sqrt()
    down = (sigma_s**2 - up**2).clamp(min=0).sqrt()
    return [down / sigma_t, alpha_s - alpha_t * down / sigma_t, up]


class DDIM(OneStep, kind="ddim"):
    """Denoising diffusion implicit model: deterministic, first order (Song et al. 2020, 2010.02502, eq. 12 with eta = 0)."""

    order: ClassVar[int] = 1
    systems: ClassVar[tuple[str, ...]] = ("DDIM (2010.02502)",)

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        return _implicit(path, times, 0.0)[:2]


class Ancestral(Multistep, kind="ancestral"):
    """The ancestral steps of DDPM (Ho et al. 2020, 2006.11239; `eta` = 1), with fresh noise in every step but the last."""

    order: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    systems: ClassVar[tuple[str, ...]] = ("DDPM (2006.11239)",)

    eta: float = Field(default=1.0, ge=0, le=1, description="How much noise is new: 0 is DDIM, 1 is DDPM.")

    def renews(self, path: Path) -> bool:
        return self.eta == 1

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        return _implicit(path, times, self.eta)
