"""Tokens of a vocabulary that are masked or replaced at random."""

from abc import abstractmethod
from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import Prediction
from anylatent.paths.discrete import DiscretePath, precise, smallest
from anylatent.spec import StreamSpec
from anylatent.types import Bool, Float, Tensor


class Vocabulary(DiscretePath):
    """Tokens `(B, N, K)` of a vocabulary of K: each is masked sometime, and replaced by any other until then.

    The two go on by themselves: `visible(t)` is the share of tokens that are not masked yet, `own(t)` the share of these
    that were not replaced (by any entry but the mask, themselves included), so that

        q(x_t | x0) = visible (own x0 + (1 - own) / K') + (1 - visible) mask

    of K' entries besides the mask. What is masked stays so.
    """

    @property
    def masks(self) -> bool:
        """Whether the last entry of the vocabulary is the mask."""
        return self.ends == "mask"

    def visible(self, t: Tensor) -> Tensor:
        """The share of tokens that are not masked."""
        return torch.ones_like(t)

    def visible_dot(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    @abstractmethod
    def own(self, t: Tensor) -> Tensor:
        """The share of visible tokens that were never replaced."""

    @abstractmethod
    def own_dot(self, t: Tensor) -> Tensor: ...

    def _any(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The uniform distribution on all entries but the mask, and the mask (0 if there is none), each `(K,)`."""
        mask = torch.zeros(x.shape[-1], dtype=x.dtype, device=x.device)
        if self.masks:
            mask[-1] = 1
        return (1 - mask) / (1 - mask).sum(), mask

    def prior(self, spec: StreamSpec, noise: Float[Tensor, "rows tokens width"], mask: Bool[Tensor, "rows tokens"]) -> Tensor:
        """Gumbel noise, -log(-log Phi(z)): what makes of logarithms of probabilities, by their argmax, a sample of them."""
        return -(-torch.special.log_ndtr(precise(noise))).log().to(noise.dtype)

    def drawn(self, probabilities: Tensor, noise: Tensor) -> Tensor:
        # Indices, not a maximum compared with all: ties would have two tokens.
        chosen = (probabilities.clamp(min=0).log() + noise).argmax(-1)
        return torch.nn.functional.one_hot(chosen, probabilities.shape[-1]).to(probabilities.dtype)

    def shown(self, x: Tensor, t: Tensor, source: Tensor | None = None) -> Tensor:
        """One-hot tokens at root mean square 1."""
        return x * x.shape[-1] ** 0.5

    def _kept(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Of tokens visible (and own) at `t`, the share that is still at `s`."""
        return _ratio(self.visible(s), self.visible(t)), _ratio(self.own(s), self.own(t))

    def forward(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        anything, mask = self._any(x)
        kept, own = self._kept(t, s)
        seen = 1 - (x * mask).sum(-1, keepdim=True)
        return kept * (own * x * (1 - mask) + (1 - own) * seen * anything) + (1 - kept * seen) * mask

    def log_of(self, x: Tensor, probabilities: Tensor) -> Float[Tensor, "*rows tokens"]:
        return (x * probabilities).sum(-1).clamp(min=smallest(x)).log()

    def _evidence(self, x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """P(x_t = x | x_s = k) for every entry k, `s` before `t`."""
        anything, mask = self._any(x)
        kept, own = self._kept(s, t)
        hidden = (x * mask).sum(-1, keepdim=True)
        seen = kept * (own * x + (1 - own) * (x * anything).sum(-1, keepdim=True)) + (1 - kept) * hidden
        return seen * (1 - mask) + hidden * mask

    def _shares(self, data: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """p(x0 | x_t) / q(x_t | x0): what, times q(x_t, x_s | x0), is p(x0, x_s | x_t)."""
        return _ratio(data, self._evidence(x, torch.zeros_like(t), t))

    def convert(self, prediction: Tensor, kind: Prediction, x_t: Tensor, t: Tensor, to: Prediction = "data") -> Tensor:
        if kind == to:
            return prediction
        _, mask = self._any(x_t)
        evidence = self._evidence(x_t, torch.zeros_like(t), t) * (1 - mask)
        # Padding is no token: nothing speaks against any entry.
        evidence = torch.where(evidence.sum(-1, keepdim=True) > 0, evidence, 1 - mask)
        if to == "data":
            return (prediction + evidence.log()).softmax(-1)
        return self.natural(prediction) - evidence.clamp(min=smallest(evidence)).log()

    def posterior(self, data: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        anything, mask = self._any(x)
        shares = self._shares(data, x, t)
        total = shares.sum(-1, keepdim=True)
        visible, own = self.visible(s), self.own(s)
        before = visible * (own * shares + (1 - own) * total * anything) + (1 - visible) * total * mask
        return torch.where(s == 0, data, _normalised(self._evidence(x, s, t) * before, x))

    def _rates(self, data: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The rates of jumps back from x to every other entry (Campbell et al. 2022, 2205.14987, proposition 1).

        R(x -> y) = R_t(y -> x) sum over x0 of q(y | x0) p(x0 | x) / q(x | x0), with the rates R_t of the way there: -visible' /
        visible to the mask, and -own' / own to any other entry.
        """
        anything, mask = self._any(x)
        shares = self._shares(data, x, t)
        own, hidden = self.own(t), (x * mask).sum(-1, keepdim=True)
        # At t = 1 nothing is own any more: jumps are then too many to count, which such a rate is as well.
        replaced = self.visible(t) * -self.own_dot(t) / own.clamp(min=1e-6) * (x * anything).sum(-1, keepdim=True)
        there = own * shares + (1 - own) * shares.sum(-1, keepdim=True) * anything
        return (1 - mask) * (1 - x) * (replaced - self.visible_dot(t) * hidden) * there

    def leap(self, data: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        rates = self._rates(data, x, t)
        total = rates.sum(-1, keepdim=True)
        moved = -torch.expm1(-(t - s) * total)
        return torch.where(s == 0, data, (1 - moved) * x + moved * _normalised(rates, x))

    def bound(self, data: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Float[Tensor, "*rows tokens"]:
        """The divergence of two jump processes' rates, R log(R / R') - R + R' (Campbell et al. 2022, 2205.14987, proposition 2).

        On masked tokens: -alpha' / (1 - alpha) times the cross-entropy (Sahoo et al. 2024, 2406.07524, eq. 10).
        """
        true, said = self._rates(x0, x_t, t), self._rates(data, x_t, t)
        tiny = smallest(true)
        return (true * (true.clamp(min=tiny).log() - said.clamp(min=tiny).log()) - true + said).sum(-1)

    def natural(self, data: Tensor) -> Tensor:
        return data.clamp(min=smallest(data)).log()

    def probable(self, natural: Tensor) -> Tensor:
        return natural.softmax(-1)


class Masked(Vocabulary, kind="masked"):
    """Tokens are masked one by one and stay so (absorbing: Austin et al. 2021, 2107.03006; Sahoo et al. 2024, 2406.07524).

    With `replaced`, mask-and-replace (Gu et al. 2021, 2111.14822, sec. 4.1): some of the tokens that are still visible are wrong,
    so a denoiser learns to doubt and mend what it made. Here all are masked at t = 1.
    """

    ends: ClassVar[str] = "mask"
    systems: ClassVar[tuple[str, ...]] = (
        "MDLM (2406.07524)", "D3PM (2107.03006)", "MaskGIT (2202.04200)", "VQ-Diffusion (2111.14822)",
    )  # fmt: skip

    replaced: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of visible tokens that are any entry, growing to this with t. 0: none, they can be relied on.",
    )

    def visible(self, t: Tensor) -> Tensor:
        return self.alpha(t)

    def visible_dot(self, t: Tensor) -> Tensor:
        return self.alpha_dot(t)

    def own(self, t: Tensor) -> Tensor:
        return 1 - self.replaced * (1 - self.alpha(t))

    def own_dot(self, t: Tensor) -> Tensor:
        return self.replaced * self.alpha_dot(t)

    def remasked(self, data: Tensor, x: Tensor, t: Tensor, s: Tensor, rate: float) -> Tensor:
        """`posterior`, but visible tokens are masked again, `rate` times in a unit of time.

        At most with the probability (1 - alpha_s) / alpha_t; masked tokens are seen the more, so that the share of visible ones is
        the same (Wang et al. 2025, 2503.00307, sec. 3). Without `replaced` only. At s = 0 nothing is masked.
        """
        _, mask = self._any(x)
        alpha_t, alpha_s = self.alpha(t), self.alpha(s)
        again = torch.minimum(-torch.expm1(-rate * (t - s)), _ratio(1 - alpha_s, alpha_t))
        shown = ((alpha_s - (1 - again) * alpha_t) / (1 - alpha_t)).clamp(0, 1)
        hidden = (x * mask).sum(-1, keepdim=True)
        return hidden * (shown * data + (1 - shown) * mask) + (1 - hidden) * ((1 - again) * x + again * mask)


class UniformState(Vocabulary, kind="uniform-state"):
    """Tokens are replaced by any entry of the vocabulary (D3PM's uniform: Austin et al. 2021, 2107.03006, sec. 3.1).

    There is no mask: a token may change until the end. It is the argmax of a Gaussian diffusion of one-hot tokens, with another
    time (Sahoo et al. 2025, 2506.10892, sec. 3); the bound of the likelihood is theirs, written as a divergence of rates.
    """

    systems: ClassVar[tuple[str, ...]] = ("D3PM (2107.03006)", "Duo: The Diffusion Duality (2506.10892)")

    def own(self, t: Tensor) -> Tensor:
        return self.alpha(t)

    def own_dot(self, t: Tensor) -> Tensor:
        return self.alpha_dot(t)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b is 0."""
    return torch.where(b > 0, a / b.clamp(min=smallest(b)), 0.0)


def _normalised(weights: Tensor, instead: Tensor) -> Tensor:
    """Weights, with sum 1; where they are all 0, `instead`."""
    total = weights.sum(-1, keepdim=True)
    return torch.where(total > 0, weights / total.clamp(min=smallest(total)), instead)
