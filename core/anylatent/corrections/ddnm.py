"""Range and null space: what was measured is put in place of what was predicted of it."""

from typing import ClassVar

from anylatent.corrections.posterior import Consistent, Observed, levels
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.types import Float, Tensor


class DDNM(Consistent, kind="ddnm"):
    """Denoising diffusion null-space model: what was measured replaces what was predicted of it; no gradients.

    x0 + A^+ (y - A x0) (Wang et al. 2022, 2212.00490, eq. 13).
    With noise in y (DDNM+, eq. 17 to 19) each singular value s has its part of that, min(1, s sigma / (alpha noise)): what is put
    in is never noisier than x_t. (The solver's noise stays as it is; the paper takes away from it what y brings.) Its bias: what was
    not measured does not learn from y but through the next prediction, and a posterior is narrower than it should be.
    """

    systems: ClassVar[tuple[str, ...]] = ("DDNM (2212.00490)",)

    def consistent(self, data: Float[Tensor, "rows tokens width"], observed: Observed, here: Here) -> Tensor:
        missed, noise = observed.missed(data), self.measurement.noise
        if noise == 0:
            return data + self.measurement.pseudo_inverse(missed, observed.layout)
        alpha, sigma = levels(here)
        trusted = sigma / (alpha * noise)  # infinite where all is noise: all is trusted
        return data + self.measurement.filtered(missed, observed.layout, lambda s: torch.clamp(s * trusted, max=1) / s)
