"""Bits that are replaced at random."""

from typing import ClassVar

from anylatent.lazy import torch
from anylatent.paths.base import Prediction
from anylatent.paths.discrete import DiscretePath, precise, smallest
from anylatent.paths.vocabulary import UniformState
from anylatent.spec import StreamSpec
from anylatent.types import Bool, Float, Tensor


class Bernoulli(DiscretePath, kind="bernoulli"):
    """Bits are replaced by coins: `uniform-state` with two entries, a channel of binary tokens `(B, N, C)`.

    q(x_t = 1 | x0) = alpha x0 + (1 - alpha) / 2 (Wang et al. 2023, 2304.04820, sec. 3.2). Values are 0, 1 or the probability of 1, logits
    log-odds; a token's loss is the mean over its bits.
    """

    holds: ClassVar[str] = "binary"
    systems: ClassVar[tuple[str, ...]] = ("Binary Latent Diffusion (2304.04820)",)

    @property
    def _each(self) -> UniformState:
        return UniformState(keeps=self.keeps)

    def prior(self, spec: StreamSpec, noise: Float[Tensor, "rows tokens width"], mask: Bool[Tensor, "rows tokens"]) -> Tensor:
        """Logistic noise, the difference of two Gumbel ones: above -log-odds, a bit is 1."""
        z = precise(noise)
        return (torch.special.log_ndtr(z) - torch.special.log_ndtr(-z)).to(noise.dtype)

    def drawn(self, probabilities: Tensor, noise: Tensor) -> Tensor:
        return (probabilities.log() - (-probabilities).log1p() + noise > 0).to(probabilities.dtype)

    def shown(self, x: Tensor, t: Tensor, source: Tensor | None = None) -> Tensor:
        """Bits as +1 and -1."""
        return 2 * x - 1

    def forward(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return self._each.forward(_pair(x), t[..., None], s[..., None])[..., 1]

    def log_of(self, x: Tensor, probabilities: Tensor) -> Float[Tensor, "*rows tokens"]:
        """Of all bits of a token together."""
        return (x * probabilities + (1 - x) * (1 - probabilities)).clamp(min=smallest(x)).log().sum(-1)

    def convert(self, prediction: Tensor, kind: Prediction, x_t: Tensor, t: Tensor, to: Prediction = "data") -> Tensor:
        if kind == to:
            return prediction
        # What a bit tells of what it was: the odds (1 + alpha) / (1 - alpha) for itself.
        alpha = self.alpha(t)
        told = (2 * x_t - 1) * (alpha.log1p() - (-alpha).log1p())
        return (prediction + told).sigmoid() if to == "data" else self.natural(prediction) - told

    def posterior(self, data: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return torch.where(s == 0, data, self._each.posterior(_pair(data), _pair(x), t[..., None], s[..., None])[..., 1])

    def leap(self, data: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return torch.where(s == 0, data, self._each.leap(_pair(data), _pair(x), t[..., None], s[..., None])[..., 1])

    def bound(self, data: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Float[Tensor, "*rows tokens"]:
        """The sum over the bits of a token."""
        return self._each.bound(_pair(data), _pair(x0), _pair(x_t), t[..., None]).sum(-1)

    def loss(self, prediction: Tensor, kind: Prediction, x0: Tensor, x_t: Tensor, t: Tensor) -> Float[Tensor, "rows tokens"]:
        return super().loss(prediction, kind, x0, x_t, t) / x0.shape[-1]

    def natural(self, data: Tensor) -> Tensor:
        tiny = smallest(data)
        return data.clamp(min=tiny).log() - (1 - data).clamp(min=tiny).log()

    def probable(self, natural: Tensor) -> Tensor:
        return natural.sigmoid()


def _pair(x: Tensor) -> Tensor:
    """Bits `(B, N, C)` as tokens of two entries `(B, N, C, 2)`."""
    return torch.stack((1 - x, x), -1)
