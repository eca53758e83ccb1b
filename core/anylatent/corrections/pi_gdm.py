"""Pseudo-inverse guidance."""

from typing import ClassVar

from pydantic import Field

from anylatent.corrections.posterior import Observed, Scaled, covariance, variance
from anylatent.moment import Here
from anylatent.types import Float, Tensor


class PiGDM(Scaled, kind="pi-gdm"):
    """Pseudo-inverse guidance: the gradient of log p(y | x_t), with x0 given x_t as independent normal numbers.

    Cov A^T (r^2 A A^T + noise^2)^-1 (y - A x0) is added, with r^2 = Var[x0 | x_t] of such numbers (Song et al. 2023, eq. 8,
    "Pseudoinverse-guided diffusion models for inverse problems", ICLR 2023). Cov is the denoiser's own (its Jacobian). Exact if the
    data are independent normal numbers of standard deviation `prior`; of others A Cov A^T is misjudged, too wide along what the
    denoiser already knows, so y pulls too little there.
    """

    systems: ClassVar[tuple[str, ...]] = ("PiGDM (2023)",)

    prior: float = Field(default=1.0, gt=0, description="Standard deviation of the data; tokenizers make it 1.")

    def consistent(self, data: Float[Tensor, "rows tokens width"], observed: Observed, here: Here) -> Tensor:
        spread, noise = variance(here, self.prior, whole=True), self.measurement.noise**2
        v = self.measurement.filtered(observed.missed(data).detach(), observed.layout, lambda s: s / (spread * s**2 + noise))
        return data + self.scale * covariance(data, here, v, self.prior)
