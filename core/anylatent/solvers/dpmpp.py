"""DPM-Solver++(2M): a second-order multistep exponential integrator."""

from typing import ClassVar

from anylatent.lazy import torch
from anylatent.paths.base import GaussianPath
from anylatent.solvers.base import Multistep
from anylatent.types import Float, Tensor


class DPMpp2M(Multistep, kind="dpm++2m"):
    """Linear extrapolation of the prediction in lambda = ln(alpha / sigma) (Lu et al. 2022, 2211.01095, algorithm 2).

    First order where there is nothing to extrapolate from (the first step, or one after infinite noise) and in the step
    to t = 0, where lambda is infinite.
    """

    order: ClassVar[int] = 2
    history: ClassVar[int] = 1

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        alpha, sigma = path.alpha(times), path.sigma(times)
        lam = alpha.log() - sigma.log()
        h = lam.diff(dim=0)
        ahead = torch.zeros_like(h)
        ahead[1:] = (h[1:] / (2 * h[:-1])).where(h[1:].isfinite() & h[:-1].isfinite(), 0.0)
        # exp(-h) = (sigma_s / alpha_s) / (sigma_t / alpha_t); written so that alpha_t = 0 and sigma_s = 0 are exact.
        a = sigma[1:] / sigma[:-1]
        move = alpha[1:] - alpha[:-1] * a
        return [a, move * (1 + ahead), -move * ahead]
