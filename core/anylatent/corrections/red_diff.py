"""Regularisation by denoising: a variational estimate that the solver's noise is added to."""

from typing import ClassVar

from pydantic import Field

from anylatent.corrections.posterior import Consistent, Observed, levels
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.types import Float, Tensor


class REDDiff(Consistent, kind="red-diff"):
    """Regularisation by denoising: one sample goes through all steps, each of which moves it towards y and the prediction.

    Down |y - A mu|^2 / 2 + prior |mu - x0|^2 / 2, by Adam with one scale a row (Mardani et al. 2023, 2305.04391, algorithm 1): with
    its weights by signal-to-noise the difference of noises is `prior` times (mu - x0); mu begins where both balance. There x_t is
    mu with noise that is all new: solver `sde-dpm++` with order 1 and a large `eta`. It finds one likely sample rather than the
    posterior's spread, which is its bias. The steps become smaller as the noise does.
    """

    systems: ClassVar[tuple[str, ...]] = ("RED-diff (2305.04391)",)

    rate: float = Field(default=0.1, gt=0, description="Adam's step, in standard deviations of the tokens.")
    prior: float = Field(default=0.25, ge=0, description="Weight of the prediction against y (lambda in the paper).")
    inner: int = Field(default=5, ge=1, description="Steps of Adam for each prediction (in the paper: 1, of 1000 predictions).")

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> dict[str, Tensor]:
        empty = torch.zeros_like(x)
        one = x.new_zeros(len(x), 1, 1)
        return {"mu": empty, "first": empty, "second": one, "steps": one}

    def consistent(self, data: Float[Tensor, "rows tokens width"], observed: Observed, here: Here) -> Tensor:
        measurement, layout = self.measurement, observed.layout
        first, second, steps = (here.memory[name] for name in ("first", "second", "steps"))
        begun = data + measurement.filtered(observed.missed(data), layout, lambda s: s / (s**2 + self.prior))
        mu = torch.where(steps > 0, here.memory["mu"], begun)
        alpha, sigma = levels(here)
        rate = self.rate * torch.clamp(sigma / alpha.clamp(min=1e-3), max=1)
        numbers = here.mask.sum(1)[:, None, None].clamp(min=1) * data.shape[2]
        for _ in range(self.inner):
            slope = self.prior * (mu - data) - measurement.adjoint(observed.missed(mu), layout)
            slope = slope * here.mask[..., None]
            steps = steps + 1
            # Of the row's mean square, not of each number's: where a slope is 0, rounding errors must not become steps.
            square = slope.square().sum((1, 2), keepdim=True) / numbers
            first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * square
            mu = mu - rate * (first / (1 - 0.9**steps)) / ((second / (1 - 0.99**steps)).sqrt() + 0.1)
        here.memory.update(mu=mu, first=first, second=second, steps=steps)
        return mu
