"""The Euler step of the probability-flow ODE."""

from anylatent.lazy import torch
from anylatent.paths.base import GaussianPath
from anylatent.solvers.base import Multistep
from anylatent.types import Float, Tensor


class Euler(Multistep, kind="euler"):
    """x_s = x_t + (s - t) v(x_t, t): first order in t. On `edm` it is k-diffusion's Euler, on `rectified` that of flow matching.

    The step that ends at t = 0 returns the prediction: on these two paths that is Euler's step, on curved ones it is better.
    """

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        t, h = times[:-1], times.diff(dim=0)
        ratio = path.sigma_dot(t) / path.sigma(t)
        last = times[1:] == 0
        a, b = 1 + h * ratio, h * (path.alpha_dot(t) - path.alpha(t) * ratio)
        return [torch.where(last, 0.0, a), torch.where(last, 1.0, b)]
