"""Plug and play: a proximal step towards what was measured."""

from typing import ClassVar

from pydantic import Field

from anylatent.corrections.posterior import Consistent, Observed, levels
from anylatent.moment import Here
from anylatent.types import Float, Tensor


class DiffPIR(Consistent, kind="diffpir"):
    """Plug-and-play restoration: a proximal step from the prediction towards what was measured; no gradients.

    argmin_x |y - A x|^2 + rho |x - x0|^2 with rho = trust (noise alpha / sigma)^2 (Zhu et al. 2023, 2305.08995, eq. 13).
    With `trust` 1 it is the posterior mean if x0 | x_t were spread by sigma / alpha in each number: right at low noise, too wide at
    high noise, where it follows y more than it should. Without noise it is the projection of `ddnm`.
    """

    systems: ClassVar[tuple[str, ...]] = ("DiffPIR (2305.08995)",)

    trust: float = Field(default=1.0, ge=0, description="Of the prediction against y (lambda in the paper). 0: y alone.")

    def consistent(self, data: Float[Tensor, "rows tokens width"], observed: Observed, here: Here) -> Tensor:
        alpha, sigma = levels(here)
        rho = self.trust * (self.measurement.noise * alpha / sigma) ** 2
        return data + self.measurement.filtered(observed.missed(data), observed.layout, lambda s: s / (s**2 + rho))
