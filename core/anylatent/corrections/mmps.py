"""Moment matching: the denoiser's own covariance, by conjugate gradients."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.corrections.posterior import Consistent, Observed, covariance
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.types import Float, Tensor


class MMPS(Consistent, kind="mmps"):
    """Moment matching posterior sampling: the gradient of log p(y | x_t), with the denoiser's own covariance of x0 given x_t.

    Cov A^T (A Cov A^T + noise^2)^-1 (y - A x0) is added (Rozet et al. 2024, 2405.13712, algorithm 3). The system is solved by
    `iterations` of conjugate gradients, each a vector-Jacobian product of the denoiser (about two network calls). Exact for any
    one normal distribution, whatever its covariance; of a mixture it is what the normal distribution with the same two moments
    would say.
    """

    gradient: ClassVar[bool] = True
    neutral: ClassVar[Mapping[str, Any]] = {"scale": 0}
    systems: ClassVar[tuple[str, ...]] = ("MMPS (2405.13712)", "TMPD (2310.06721)")

    iterations: int = Field(
        default=1, ge=1, description="Of conjugate gradients. More is nearer; without noise they also amplify what a network errs by."
    )
    scale: float = Field(default=1.0, ge=0, description="How much of it is added. 0: nothing.")

    def consistent(self, data: Float[Tensor, "rows tokens width"], observed: Observed, here: Here) -> Tensor:
        measurement, layout = self.measurement, observed.layout

        def system(v: Tensor) -> Tensor:
            return measurement.apply(covariance(data, here, measurement.adjoint(v, layout)), layout) + measurement.noise**2 * v

        found = torch.zeros_like(observed.y)
        left = observed.missed(data).detach()
        way, size = left, _inner(left, left)
        for _ in range(self.iterations):
            turned = system(way)
            bent = _inner(way, turned)
            # A trained denoiser's Jacobian is only nearly symmetric and positive: where it is neither, the row stops here.
            good = (bent > 1e-6 * _inner(way, way)) & (size > 1e-12)
            step = torch.where(good, size / bent.where(good, 1.0), 0.0)
            found, left = found + step * way, left - step * turned
            new = _inner(left, left)
            way, size = left + torch.where(good, new / size.where(good, 1.0), 0.0) * way, torch.where(good, new, 0.0)
        return data + self.scale * covariance(data, here, measurement.adjoint(found, layout))


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of each row, to multiply with them."""
    return (a * b).flatten(1).sum(1).reshape(-1, *([1] * (a.dim() - 1)))
