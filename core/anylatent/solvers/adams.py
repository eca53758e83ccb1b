"""Adams-Bashforth on the probability-flow ODE: the velocity is a polynomial in t."""

from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import GaussianPath
from anylatent.solvers.base import Multistep, Parameter, meaning
from anylatent.solvers.integrals import spread, weights
from anylatent.types import Float, Tensor


class AdamsBashforth(Multistep, kind="adams-bashforth"):
    """x_s = x_t + int of the polynomial through the last velocities, with any step sizes (Hairer et al. 1993, III.5, eq. 5.7).

    Order 1 is Euler's. On `edm` it is the linear multistep solver of k-diffusion. The step that ends at t = 0 returns the prediction.
    """

    remembers: ClassVar[Parameter] = "velocity"

    order: int = Field(default=2, ge=1, le=4, description="Velocities that the polynomial goes through.")

    @property
    def history(self) -> int:
        return self.order - 1

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        t, h, last = times[:-1], times.diff(dim=0), times[1:] == 0
        p, q = meaning(path, t, "velocity")
        at, width = spread(t, times[1:])
        w = [column.where(~last, 0.0) for column in weights(times, at, width, range(1, self.order))]
        now = h - torch.stack(w).sum(0) if w else h
        return [torch.where(last, 0.0, 1 + now * p), torch.where(last, 1.0, now * q), *w]
