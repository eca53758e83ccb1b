"""The Euler step of the probability-flow ODE."""

from typing import ClassVar

from anylatent.lazy import torch
from anylatent.paths.base import GaussianPath
from anylatent.solvers.base import OneStep, meaning
from anylatent.types import Float, Tensor


class Euler(OneStep, kind="euler"):
    """x_s = x_t + (s - t) v(x_t, t): first order in t. On `edm` it is k-diffusion's Euler, on `rectified` that of flow matching.

    Karras et al. 2022 (2206.00364, algorithm 1 without its correction), Lipman et al. 2022 (2210.02747, app. D). The step that ends at
    t = 0 returns the prediction: on these two paths that is Euler's step, on curved ones it is better.
    """

    order: ClassVar[int] = 1

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        h, last = times.diff(dim=0), times[1:] == 0
        p, q = meaning(path, times[:-1], "velocity")
        return [torch.where(last, 0.0, 1 + h * p), torch.where(last, 1.0, h * q)]
