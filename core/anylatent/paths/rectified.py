"""Straight lines from prior to data."""

from anylatent.paths.base import GaussianPath, Prediction
from anylatent.types import Tensor


class Rectified(GaussianPath, kind="rectified"):
    """x_t = (1 - t) x0 + t x1 (rectified flow, Liu et al. 2022, 2209.03003; Lipman et al. 2022, 2210.02747)."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -t.new_ones(t.shape)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return t.new_ones(t.shape)

    def time_of(self, ratio: Tensor) -> Tensor:
        return 1 - 1 / (1 + ratio)

    def start(self, kind: Prediction) -> float:
        """At t = 1 there is no signal left: noise and score say nothing of the data there."""
        return 0.995 if kind in ("noise", "score") else 1.0
