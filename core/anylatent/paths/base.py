"""The contract of a path, and what all Gaussian paths share."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from anylatent.lazy import torch
from anylatent.node import Node
from anylatent.spec import StreamSpec
from anylatent.types import Bool, Float, Tensor

Prediction = Literal["data", "noise", "velocity", "score", "preconditioned", "logits"]
"""What a network's output means. `preconditioned` is EDM's unit-variance mixture of data and noise (Karras et al. 2022, table 1);
`logits` are logarithms of probabilities, but for what a token itself tells."""


class Path(Node, family="path"):
    """How clean tokens x0 (t = 0) and prior tokens x1 (t = 1) are joined."""

    predictions: ClassVar[tuple[Prediction, ...]] = ()
    """The kinds of prediction that `target` and `convert` understand."""

    def refuses(self, spec: StreamSpec) -> str | None:
        """Why it cannot carry tokens of this kind, or None."""
        return None

    def prior(self, spec: StreamSpec, noise: Float[Tensor, "rows tokens width"], mask: Bool[Tensor, "rows tokens"]) -> Tensor:
        """Prior tokens x1 made of standard normal noise of the stream's shape: what `corrupt` mixes in, and solvers add."""
        raise NotImplementedError

    def project(self, spec: StreamSpec, values: Float[Tensor, "rows tokens width"], mask: Bool[Tensor, "rows tokens"]) -> Tensor:
        """Clean tokens, in the space that the prior lives in."""
        return values

    def corrupt(self, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        """The tokens at time `t`; `t` broadcasts against `(B, N, C)`."""
        raise NotImplementedError

    def renoise(self, x: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        """Tokens `x` of time `t`, noised on to the later time `s` with fresh prior noise."""
        raise NotImplementedError

    def mixed(self, predictions: Mapping[str, Tensor], combine: Callable[[Mapping[str, Tensor]], Tensor]) -> Tensor:
        """Several predictions of clean tokens made one, in the space where mixing them makes sense: here, as they are."""
        return combine(predictions)

    def target(self, kind: Prediction, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        """What a network with this kind of prediction should say of `corrupt(x0, x1, t)`."""
        raise NotImplementedError

    def loss(self, prediction: Tensor, kind: Prediction, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor | None:
        """The loss of each token `(B, N)`, of a path that brings its own; None: how far the prediction is from `target`."""
        return None

    def convert(self, prediction: Tensor, kind: Prediction, x_t: Tensor, t: Tensor, to: Prediction = "data") -> Tensor:
        """The same prediction, as another kind. Exact in both directions on `0 < t < start(kind)`."""
        raise NotImplementedError

    def start(self, kind: Prediction) -> float:
        """The latest time at which a prediction of this kind determines the data: where sampling begins."""
        return 1.0

    def scale(self, t: Tensor) -> Tensor | None:
        """What multiplies the tokens before a network sees them; None for nothing."""
        return None

    def partner(self) -> str:
        """The stream whose clean tokens stand at t = 1, for a path between two streams; empty for one that ends in noise."""
        return ""

    def shown(self, x: Tensor, t: Tensor, source: Tensor | None = None) -> Tensor:
        """The tokens as a network sees them, `(B, N, C)`; `source`: the partner's clean tokens, of the same shape."""
        scale = self.scale(t)
        return x if scale is None else x * scale

    def level(self, t: Tensor) -> Tensor:
        """What a network is told of `t`: a smooth function of it, of the order of 1."""
        return t


class GaussianPath(Path):
    """x_t = alpha(t) x0 + sigma(t) x1, with x1 standard normal; alpha falls, sigma rises, both smooth.

    The score is that of p(x_t): -E[x1 | x_t] / sigma(t).
    """

    predictions: ClassVar[tuple[Prediction, ...]] = ("data", "noise", "velocity", "score", "preconditioned")
    data_std: ClassVar[float] = 1.0

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def alpha_dot(self, t: Tensor) -> Tensor:
        """d alpha / dt."""

    @abstractmethod
    def sigma_dot(self, t: Tensor) -> Tensor:
        """d sigma / dt."""

    @abstractmethod
    def time_of(self, ratio: Tensor) -> Tensor:
        """The time at which sigma / alpha, the noise-to-signal ratio, is `ratio`."""

    def refuses(self, spec: StreamSpec) -> str | None:
        if spec.prior in ("normal", "normal_centred"):
            return None
        return f"path '{self.kind}' ends in normal noise; stream '{spec.name}' asks for the prior '{spec.prior}'"

    def prior(self, spec: StreamSpec, noise: Float[Tensor, "rows tokens width"], mask: Bool[Tensor, "rows tokens"]) -> Tensor:
        """Standard normal tokens; for the prior `normal_centred`, in its subspace (Hoogeboom et al. 2022, 2203.17003, sec. 3.1)."""
        return self.project(spec, noise, mask)

    def project(self, spec: StreamSpec, values: Float[Tensor, "rows tokens width"], mask: Bool[Tensor, "rows tokens"]) -> Tensor:
        """With the prior `normal_centred`: minus the mean of the row's valid tokens, in the centred channels."""
        if spec.prior != "normal_centred":
            return values
        weight = mask[..., None].to(values.dtype)
        mean = (values * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
        if spec.centred:
            chosen = torch.zeros(values.shape[-1], dtype=values.dtype, device=values.device)
            chosen[list(spec.centred)] = 1
            mean = mean * chosen
        return (values - mean) * weight

    def corrupt(self, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        return self.alpha(t) * x0 + self.sigma(t) * x1

    def target(self, kind: Prediction, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.alpha(t), self.sigma(t)
        match kind:
            case "data":
                return x0
            case "noise":
                return x1
            case "velocity":
                return self.alpha_dot(t) * x0 + self.sigma_dot(t) * x1
            case "score":
                return -x1 / sigma
            case "preconditioned":
                skip, out = self._preconditioning(alpha, sigma)
                return (x0 - skip * (alpha * x0 + sigma * x1)) / out
            case _:
                raise self._unknown(kind)

    def _unknown(self, kind: str) -> ValueError:
        return ValueError(f"path '{self.kind}' predicts {' or '.join(self.predictions)}, given '{kind}'")

    def _preconditioning(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """c_skip and c_out of EDM (Karras et al. 2022, 2206.00364, eq. 7 and table 1), for any alpha."""
        total = (alpha * self.data_std) ** 2 + sigma**2
        return alpha * self.data_std**2 / total, sigma * self.data_std / total.sqrt()

    def _data(self, prediction: Tensor, kind: Prediction, x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.alpha(t), self.sigma(t)
        match kind:
            case "data":
                return prediction
            case "noise":
                return (x_t - sigma * prediction) / alpha
            case "score":
                return (x_t + sigma**2 * prediction) / alpha
            case "velocity":
                # Two equations, x_t = alpha x0 + sigma x1 and v = alpha' x0 + sigma' x1, solved for x0 (Cramer).
                alpha_dot, sigma_dot = self.alpha_dot(t), self.sigma_dot(t)
                return (sigma_dot * x_t - sigma * prediction) / (alpha * sigma_dot - sigma * alpha_dot)
            case "preconditioned":
                skip, out = self._preconditioning(alpha, sigma)
                return skip * x_t + out * prediction
            case _:
                raise self._unknown(kind)

    def convert(self, prediction: Tensor, kind: Prediction, x_t: Tensor, t: Tensor, to: Prediction = "data") -> Tensor:
        if kind == to:
            return prediction
        x0 = self._data(prediction, kind, x_t, t)
        return x0 if to == "data" else self.target(to, x0, self.to_noise(x0, x_t, t), t)

    def sensitivity(self, kind: Prediction, t: Tensor) -> Tensor:
        """How wrong a prediction of this kind is where the data it implies is wrong by 1, on `0 < t < start(kind)`.

        Every kind is a0(t) x_t + a1(t) x0; this is |a1|. So squared errors of two kinds differ by a factor of t alone.
        """
        alpha, sigma = self.alpha(t), self.sigma(t)
        match kind:
            case "data":
                return t.new_ones(t.shape)
            case "noise":
                return alpha / sigma
            case "velocity":
                return (self.sigma_dot(t) * alpha - self.alpha_dot(t) * sigma) / sigma
            case "score":
                return alpha / sigma**2
            case "preconditioned":
                return 1 / self._preconditioning(alpha, sigma)[1]
            case _:
                raise self._unknown(kind)

    def renoise(self, x: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        """Forward diffusion from time `t` to a later `s`, with fresh prior noise; `t = s` changes nothing.

        x_s = k x_t + sqrt(sigma_s^2 - k^2 sigma_t^2) z with k = alpha_s / alpha_t: the transition that the path's marginals
        imply (Kingma et al. 2021, 2107.00630, appendix A.1). From t = 0 it is `corrupt`.
        """
        kept = torch.where(t == s, 1.0, self.alpha(s) / self.alpha(t))
        before, after = kept * self.sigma(t), self.sigma(s)
        # A product of sum and difference: the difference of squares would lose what a short jump adds.
        return kept * x + ((after - before).clamp(min=0) * (after + before)).sqrt() * noise

    def to_noise(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The prior tokens that a prediction x0 implies: (x_t - alpha x0) / sigma."""
        return (x_t - self.alpha(t) * x0) / self.sigma(t)

    def velocity(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """dx/dt of the probability-flow ODE at `x_t`, given a prediction x0."""
        return self.alpha_dot(t) * x0 + self.sigma_dot(t) * self.to_noise(x0, x_t, t)


def not_gaussian(path: Path, who: str) -> str | None:
    """Why a method for Gaussian paths alone cannot be used on this one ("solver 'euler' moves along" Gaussian paths, not …), or None."""
    return None if isinstance(path, GaussianPath) else f"{who} Gaussian paths, not '{path.kind}'"


def as_gaussian(path: Path) -> GaussianPath:
    """The path, of which a method has been refused on all others (`not_gaussian`)."""
    assert isinstance(path, GaussianPath), f"path '{path.kind}' is not Gaussian: it should have been refused before"
    return path
