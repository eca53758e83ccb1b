"""Euler-Maruyama on a reverse-time SDE with the same marginals as the ODE."""

from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import GaussianPath, Path
from anylatent.solvers.base import Multistep
from anylatent.types import Float, Tensor


class SDEEuler(Multistep, kind="sde-euler"):
    """dx = (v - w/2 score) dt + sqrt(w) dW, backwards in t, with w = 2 churn sigma sigma' (Ma et al. 2024, 2401.08740, eq. 6).

    Any w >= 0 keeps the marginals; churn 1 on `edm` is the reverse SDE of Song et al. 2020 (2011.13456, eq. 6). The step
    that ends at t = 0 returns the prediction: noise added there could not be removed.
    """

    order: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True

    churn: float = Field(default=1.0, ge=0, description="How much noise is added and removed; 0: Euler on the ODE.")

    def renews(self, path: Path) -> bool:
        """Where alpha stays 1 alone: elsewhere the reverse process adds -2 sigma^2 alpha' / alpha more."""
        return self.churn == 1 and isinstance(path, GaussianPath) and not path.alpha_dot(torch.tensor([0.25, 0.5, 0.75])).any()

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        t, h = times[:-1], times.diff(dim=0)
        ratio, alpha = path.sigma_dot(t) / path.sigma(t), path.alpha(t)
        # -w/2 score = w/2 (x - alpha d) / sigma^2 = churn ratio (x - alpha d)
        a = 1 + h * ratio * (1 + self.churn)
        b = h * (path.alpha_dot(t) - alpha * ratio * (1 + self.churn))
        c = (2 * self.churn * path.sigma(t) * path.sigma_dot(t) * -h).sqrt()
        last = times[1:] == 0
        return [torch.where(last, 0.0, a), torch.where(last, 1.0, b), torch.where(last, 0.0, c)]
