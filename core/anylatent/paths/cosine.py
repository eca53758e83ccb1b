"""The variance-preserving path with a cosine schedule."""

import math

from anylatent.paths.base import GaussianPath, Prediction
from anylatent.types import Tensor


class Cosine(GaussianPath, kind="cosine"):
    """x_t = cos(pi t / 2) x0 + sin(pi t / 2) x1 (Nichol & Dhariwal 2021, 2102.09672, without offset; Salimans & Ho 2022, 2202.00512)."""

    def alpha(self, t: Tensor) -> Tensor:
        return (t * (math.pi / 2)).cos()

    def sigma(self, t: Tensor) -> Tensor:
        return (t * (math.pi / 2)).sin()

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -math.pi / 2 * self.sigma(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return math.pi / 2 * self.alpha(t)

    def time_of(self, ratio: Tensor) -> Tensor:
        return ratio.atan() * (2 / math.pi)

    def start(self, kind: Prediction) -> float:
        """At t = 1 there is no signal left: noise and score say nothing of the data there."""
        return 0.995 if kind in ("noise", "score") else 1.0
