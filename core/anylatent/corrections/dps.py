"""Diffusion posterior sampling."""

from typing import ClassVar, Literal

from pydantic import Field

from anylatent.corrections.posterior import Observed, Scaled, covariance, gradient_of, variance
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.types import Float, Tensor


class DPS(Scaled, kind="dps"):
    """Diffusion posterior sampling: the gradient of what a prediction misses, of anything that can be differentiated.

    Of |y - A(E[x0 | x_t])|^2 / 2v (Chung et al. 2022, 2209.14687, eq. 15 and 16).
    It takes A(x0) given x_t for certain, so v is the noise's variance alone (`by` "noise"): y is trusted more than it should be,
    and steps are unstable where the noise is small. The paper's algorithm 1 divides by the length of what is missed instead
    ("residual"; here by its root mean square). "spread" adds Var[x0 | x_t] of independent numbers to the noise's, as `pi-gdm` does
    (of which it is the same for A A^T = 1): in few steps the only stable one.
    """

    any_function: ClassVar[bool] = True
    systems: ClassVar[tuple[str, ...]] = ("DPS (2209.14687)", "MPGD (2311.16424)")

    by: Literal["spread", "residual", "noise"] = Field(default="spread", description="What the variance of y is taken to be.")
    through: bool = Field(default=True, description="Differentiate the denoiser; else its Jacobian is taken to be diagonal (as in MPGD).")

    @property
    def gradient(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.through and self.scale != 0

    def consistent(self, data: Float[Tensor, "rows tokens width"], observed: Observed, here: Here) -> Tensor:
        with torch.enable_grad():
            x = data.detach().requires_grad_()
            missed = observed.missed(x)
            score = gradient_of(-missed.square().sum() / 2, x, f"correction 'dps': measurement '{self.measurement.kind}'")
        score = score / self._doubt(missed.detach(), observed, here)
        return data + self.scale * (covariance(data, here, score) if self.through else variance(here) * score)

    def _doubt(self, missed: Tensor, observed: Observed, here: Here) -> Float[Tensor, "rows 1 1"]:
        """The variance of y given x_t, as `by` says."""
        noise = self.measurement.noise**2
        if self.by == "residual":
            squared = missed.flatten(1).square().sum(1)[:, None, None] / observed.count(here.x.detach())
            return squared.sqrt().clamp(min=1e-4)
        spread = variance(here, whole=True)
        return (spread + noise if self.by == "spread" else torch.full_like(spread, noise)).clamp(min=1e-8)
