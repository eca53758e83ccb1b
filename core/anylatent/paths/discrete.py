"""Discrete diffusion: tokens of a vocabulary, or bits, that are masked or replaced at random."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import Path, Prediction
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor

Keeping = Literal["linear", "cosine", "squared-cosine", "geometric"]
"""How the share alpha(t) of tokens that are still themselves falls from 1 to 0."""

_LEAST, _MOST = 1e-4, 20.0
"""Of `geometric`: how much noise there is at t = 0 and t = 1 (after Lou et al. 2023, 2310.16834, appendix C.1)."""


def _geometric(t: Tensor) -> Tensor:
    left, first, last = (-_LEAST * (_MOST / _LEAST) ** t).exp(), math.exp(-_LEAST), math.exp(-_MOST)
    return torch.where(t <= 0, 1.0, torch.where(t >= 1, 0.0, (left - last) / (first - last)))


def _geometric_dot(t: Tensor) -> Tensor:
    noise = _LEAST * (_MOST / _LEAST) ** t
    return -math.log(_MOST / _LEAST) * noise * (-noise).exp() / (math.exp(-_LEAST) - math.exp(-_MOST))


_KEPT: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "linear": (lambda t: 1 - t, lambda t: -torch.ones_like(t)),
    "cosine": (lambda t: 1 - (math.pi / 2 * t).sin(), lambda t: -math.pi / 2 * (math.pi / 2 * t).cos()),
    # As a sine of what is left: 0 exactly at t = 1.
    "squared-cosine": (lambda t: (math.pi / 2 * (1 - t)).sin() ** 2, lambda t: -math.pi / 2 * (math.pi * (1 - t)).sin()),
    "geometric": (_geometric, _geometric_dot),
}
"""alpha and its slope."""


class DiscretePath(Path):
    """Every token (or bit) goes its own way from x0 to a prior that knows nothing of it, by jumps at random times.

    What noise a stream has is drawn in advance, so that a sample of any of its distributions is `drawn`: Gumbel noise, whose
    argmax with logarithms of probabilities is a sample of them.

    Predicting `logits`, a network says what the tokens around a token tell of it; what the token itself tells is known and
    put in by Bayes' rule, p(x0 | x_t) ~ exp(logits) q(x_t | x0). Tokens that cannot have changed (unmasked ones) are thus
    carried over, and the mask is never predicted (Sahoo et al. 2024, 2406.07524, sec. 3.2.3).
    """

    predictions: ClassVar[tuple[Prediction, ...]] = ("logits", "data")
    holds: ClassVar[str] = "categorical"
    """The kind of stream that it carries."""
    ends: ClassVar[str] = "uniform"
    """The prior that it ends in."""

    keeps: Keeping = Field(default="linear", description="How the share of tokens that are still themselves falls from 1 to 0.")
    weighting: Literal["bound", "even"] = Field(
        default="bound",
        description="The loss: `bound`, of the likelihood, with times `uniform`; `even`: the cross-entropy, at all times alike.",
    )

    def refuses(self, spec: StreamSpec) -> str | None:
        if (spec.kind, spec.prior) == (self.holds, self.ends):
            return None
        return (
            f"path '{self.kind}' carries {self.holds} tokens to the prior '{self.ends}'; stream '{spec.name}' is {spec.kind} and asks for "
            f"'{spec.prior}'"
        )

    def alpha(self, t: Tensor) -> Tensor:
        """The share of tokens that are still themselves."""
        return _KEPT[self.keeps][0](t)

    def alpha_dot(self, t: Tensor) -> Tensor:
        """d alpha / dt."""
        return _KEPT[self.keeps][1](t)

    # --- forwards -----------------------------------------------------------------------------------------------

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The probabilities of the tokens at the later time `s`, if they are `x` (or of these probabilities) at `t`."""

    @abstractmethod
    def drawn(self, probabilities: Tensor, noise: Tensor) -> Tensor:
        """Tokens of these probabilities, by noise of `prior`."""

    def corrupt(self, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        """A sample of q(x_t | x0); `x1` is its noise. At t = 0 it is `x0`, at t = 1 the prior."""
        return self.renoise(x0, torch.zeros_like(t), t, x1)

    def renoise(self, x: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        """Tokens `x` of time `t`, jumped on to the later time `s`."""
        return torch.where(t == s, x, self.drawn(self.forward(x, t, s), noise))

    @abstractmethod
    def log_of(self, x: Tensor, probabilities: Tensor) -> Float[Tensor, "*rows tokens"]:
        """The logarithm of the probability of each token of `x`."""

    # --- backwards ----------------------------------------------------------------------------------------------

    @abstractmethod
    def posterior(self, data: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """p(x_s | x_t = x) = sum over x0 of q(x_s | x_t, x0) p(x0 | x_t), with `data` as p(x0 | x_t); at s = 0 it is `data`."""

    @abstractmethod
    def leap(self, data: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The probabilities at `s` if the rates of jumps stayed what they are at `t`, and each token jumped once at most."""

    @abstractmethod
    def bound(self, data: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Float[Tensor, "*rows tokens"]:
        """The rate at which -log p(x0) is bounded: its mean over uniform times and x_t, summed over tokens, is at least that."""

    def target(self, kind: Prediction, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        """The clean tokens: what probabilities are compared with."""
        return x0

    def loss(self, prediction: Tensor, kind: Prediction, x0: Tensor, x_t: Tensor, t: Tensor) -> Float[Tensor, "rows tokens"]:
        """The bound of the likelihood, or the cross-entropy, of each token, in nats (of bits: a bit)."""
        data = self.convert(prediction, kind, x_t, t)
        return self.bound(data, x0, x_t, t) if self.weighting == "bound" else -self.log_of(x0, data)

    # --- mixing -------------------------------------------------------------------------------------------------

    @abstractmethod
    def natural(self, data: Tensor) -> Tensor:
        """Probabilities, in the space where adding is multiplying them: finite logarithms or log-odds."""

    @abstractmethod
    def probable(self, natural: Tensor) -> Tensor:
        """The way back from `natural`."""

    def mixed(self, predictions: Mapping[str, Tensor], combine: Callable[[Mapping[str, Tensor]], Tensor]) -> Tensor:
        """Mixed as logarithms: null + scale (asked - null) is p(x0 | asked)^scale p(x0)^(1 - scale), normalised.

        As on logits in Muse (Chang et al. 2023, 2301.00704, eq. 1). Tokens that come out as one of the predictions are that
        prediction bit for bit; what all of them hold to be impossible stays so.
        """
        natural = {name: self.natural(data) for name, data in predictions.items()}
        out = combine(natural)
        possible = torch.stack([data > 0 for data in predictions.values()]).any(0)
        mixed = self.probable(out) * possible
        for name, each in natural.items():
            mixed = torch.where((out == each).all(-1, keepdim=True), predictions[name], mixed)
        return mixed


def smallest(x: Tensor) -> float:
    """The smallest normal number of its kind."""
    return torch.finfo(x.dtype).tiny


def precise(noise: Tensor) -> Tensor:
    """In double, where there is double: tails and last bits are then the same on every machine."""
    return noise if noise.device.type == "mps" else noise.double()
