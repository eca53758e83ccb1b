"""Moment matching: the denoiser's own covariance, by conjugate gradients."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from anylatent.corrections.posterior import Observed, Scaled, covariance
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.types import Float, Tensor


class MMPS(Scaled, kind="mmps"):
    """Moment matching posterior sampling: the gradient of log p(y | x_t), with the denoiser's own covariance of x0 given x_t.

    Cov A^T (A Cov A^T + noise^2)^-1 (y - A x0) is added (Rozet et al. 2024, 2405.13712, algorithm 3). The system is solved by
    `iterations` of conjugate gradients, each a vector-Jacobian product of the denoiser (about two network calls). Exact for any
    one normal distribution, whatever its covariance; of a mixture it is what the normal distribution with the same two moments
    would say. A row whose system is not positive (a network's Jacobian need not be) stops there: its receipt says "stopped".
    """

    costs: ClassVar[Mapping[str, str]] = {"gradients": "1 + iterations"}
    systems: ClassVar[tuple[str, ...]] = ("MMPS (2405.13712)", "TMPD (2310.06721)")

    iterations: int = Field(
        default=1, ge=1, description="Of conjugate gradients. More is nearer; without noise they also amplify what a network errs by."
    )

    def consistent(self, data: Float[Tensor, "rows tokens width"], observed: Observed, here: Here) -> Tensor:
        measurement, layout = self.measurement, observed.layout

        def system(v: Tensor) -> Tensor:
            return measurement.apply(covariance(data, here, measurement.adjoint(v, layout)), layout) + measurement.noise**2 * v

        found = torch.zeros_like(observed.y)
        left = observed.missed(data).detach()
        way, size = left, _inner(left, left)
        stopped = torch.zeros_like(here.rows)
        for _ in range(self.iterations):
            turned = system(way)
            bent = _inner(way, turned)
            # A trained denoiser's Jacobian is only nearly symmetric and positive: where it is neither, the row stops here.
            positive, unsolved = bent > 1e-6 * _inner(way, way), size > 1e-12
            good = positive & unsolved
            here.count("iterations", here.rows & good.flatten(), 1)
            stopped = stopped | (unsolved & ~positive).flatten()
            step = torch.where(good, size / bent.where(good, 1.0), 0.0)
            found, left = found + step * way, left - step * turned
            new = _inner(left, left)
            way, size = left + torch.where(good, new / size.where(good, 1.0), 0.0) * way, torch.where(good, new, 0.0)
        here.count("stopped", here.rows & stopped, 1)
        return data + self.scale * covariance(data, here, measurement.adjoint(found, layout))


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of each row, to multiply with them."""
    return (a * b).flatten(1).sum(1).reshape(-1, *([1] * (a.dim() - 1)))
