"""The variance-exploding path of EDM."""

from pydantic import Field

from anylatent.paths.base import GaussianPath
from anylatent.types import Tensor


class EDM(GaussianPath, kind="edm"):
    """x_t = x0 + sigma_max t x1, so that time is the noise level (Karras et al. 2022, 2206.00364).

    A network sees c_in x_t and is told ln(sigma) (their table 1), whatever it predicts.
    """

    sigma_max: float = Field(default=80.0, gt=0, description="The standard deviation of the noise at t = 1, in units of the data's.")

    def alpha(self, t: Tensor) -> Tensor:
        return t.new_ones(t.shape)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_max * t

    def alpha_dot(self, t: Tensor) -> Tensor:
        return t.new_zeros(t.shape)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return t.new_full(t.shape, self.sigma_max)

    def time_of(self, ratio: Tensor) -> Tensor:
        return ratio / self.sigma_max

    def scale(self, t: Tensor) -> Tensor:
        return (self.data_std**2 + self.sigma(t) ** 2).rsqrt()

    def level(self, t: Tensor) -> Tensor:
        """ln(sigma) / 8 + 1/2: of the order of 1 between sigma 0.02 and 50."""
        return self.sigma(t).clamp(min=1e-3).log() / 8 + 0.5
