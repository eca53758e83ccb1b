"""What a wrong prediction costs."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.node import Node
from anylatent.types import Float, Tensor


class Loss(Node, family="loss"):
    """What a wrong prediction costs, a token."""

    def of_tokens(
        self, prediction: Float[Tensor, "rows tokens width"], target: Float[Tensor, "rows tokens width"]
    ) -> Float[Tensor, "rows tokens"]:
        """The cost of each token."""
        raise NotImplementedError


class Squared(Loss, kind="squared"):
    """The squared error, mean over channels: the only one whose best prediction is the conditional mean."""

    neutral: ClassVar[Mapping[str, Any] | None] = {}

    def of_tokens(
        self, prediction: Float[Tensor, "rows tokens width"], target: Float[Tensor, "rows tokens width"]
    ) -> Float[Tensor, "rows tokens"]:
        return (prediction - target).square().mean(-1)


class Robust(Loss, kind="robust"):
    """Large errors cost less than their square (Barron 2019, 1701.03077, eq. 1), scaled to be the squared error where it is small.

    2 c^2 |a - 2| / a (((e / c)^2 / |a - 2| + 1)^(a / 2) - 1) for the error e of a channel. `shape` a = 2 is the squared
    error, 1 the pseudo-Huber (Charbonnier) loss of consistency models (2310.14189) and of 2-rectified flow++ (2405.20320), 0
    the Cauchy loss, -2 Geman-McClure. The best prediction is then nearer to the median: for data with outliers.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {"shape": 2.0}
    systems: ClassVar[tuple[str, ...]] = ("Improved consistency training, pseudo-Huber (2310.14189)", "Huber scheduling (2403.16728)")

    shape: float = Field(default=1.0, le=2, description="a: 2 squared, 1 pseudo-Huber, 0 Cauchy; lower: outliers cost less.")
    scale: float = Field(default=0.5, gt=0, description="c: the error beyond which costs grow more slowly.")

    def of_tokens(
        self, prediction: Float[Tensor, "rows tokens width"], target: Float[Tensor, "rows tokens width"]
    ) -> Float[Tensor, "rows tokens"]:
        square = (prediction - target).square()
        if self.shape == 2:
            return square.mean(-1)
        size = square / self.scale**2
        if self.shape == 0:
            cost = 2 * (size / 2).log1p()
        else:
            away = 2 - self.shape
            # expm1 of a logarithm: no cancellation where the error is small.
            cost = 2 * away / self.shape * ((size / away).log1p() * (self.shape / 2)).expm1()
        return (cost * self.scale**2).mean(-1)


class DirectionLoss(Loss, kind="direction"):
    """A loss, and 1 - cos of the angle between prediction and target (Yao et al. 2024, 2410.10356: of velocities)."""

    neutral: ClassVar[Mapping[str, Any] | None] = {"weight": 0.0}
    systems: ClassVar[tuple[str, ...]] = ("FasterDiT, velocity direction (2410.10356)",)

    of: Loss = Field(default=Squared(), description="The loss that is added to.")
    weight: float = Field(default=1.0, ge=0, description="How much the direction counts. 0: not at all.")

    def of_tokens(
        self, prediction: Float[Tensor, "rows tokens width"], target: Float[Tensor, "rows tokens width"]
    ) -> Float[Tensor, "rows tokens"]:
        cost = self.of.of_tokens(prediction, target)
        if not self.weight:
            return cost
        return cost + self.weight * (1 - torch.nn.functional.cosine_similarity(prediction, target, dim=-1))
