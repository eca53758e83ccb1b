"""Denoisers that are known exactly, to test methods against.

Every oracle is a mixture over whole samples: component k has the mean `means[k]` `(N, C)` and one standard deviation for
all channels. One component is the Gaussian oracle; standard deviations of 0 make a discrete one, whose samples are a
finite set (with one-hot `means`: a categorical distribution).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from anylatent.condition import Condition
from anylatent.conditioners.base import Conditioner, Conditions
from anylatent.conditioners.config import ConditionerConfig
from anylatent.denoiser import Corruption, Denoiser, ModulationCache
from anylatent.nn.backbone import Backbone
from anylatent.nn.sites import Sites
from anylatent.paths.base import GaussianPath
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.types import Float, Int, Tensor


class Label(Conditioner):
    """Component k of the mixture as a one-hot vector, or the k-th of several `groups` of components; the null is all of them."""

    def __init__(self, count: int, groups: Sequence[Sequence[int]] | None = None) -> None:
        super().__init__(ConditionerConfig.model_construct(slot="global", dropout=0.1))
        self.count = count
        self.groups = [[k] for k in range(count)] if groups is None else groups

    def forward(self, raw: Sequence[Any | None]) -> Tensor:
        chosen = [range(self.count) if k is None else self.groups[k] for k in raw]
        return torch.stack([nn.functional.one_hot(torch.tensor(list(group)), self.count).sum(0).float() for group in chosen])


class Opaque(Backbone):
    """A backbone without sites or numbers: an oracle needs none."""

    def modulate(self, levels: Float[Tensor, "rows levels"], vector: Float[Tensor, "rows width"]) -> Float[Tensor, "rows levels numbers"]:
        return levels[..., None][..., :0]

    def tokens(
        self,
        values: Mapping[str, Tensor],
        state: State,
        modulation: Float[Tensor, "rows levels numbers"],
        level: Int[Tensor, "rows tokens"] | None,
        condition: Condition,
        sites: Sites | None = None,
    ) -> Float[Tensor, "rows tokens width"]:
        raise NotImplementedError("an oracle predicts without a backbone")


class MixtureOracle(Denoiser):
    """The exact E[x0 | x_t] of a mixture of isotropic Gaussians over samples `(N, C)`, on any Gaussian path.

    `weights` `(K,)`, `means` `(K, N, C)`, `stds` `(K,)`. The condition `component` selects one; the null is the mixture.
    With `groups` there is a condition for each of its names instead, that selects a group of components; several select
    what all their groups have in common.
    """

    def __init__(
        self,
        path: GaussianPath,
        weights: Tensor,
        means: Float[Tensor, "components tokens width"],
        stds: Tensor,
        groups: Mapping[str, Sequence[Sequence[int]]] | None = None,
    ) -> None:
        components, _, width = means.shape
        axes = (AxisSpec(name="i", unit="1"),)
        spec = StreamSpec(name="tokens", width=width, axes=axes, order="sequence")
        named = {"component": Label(components)} if groups is None else {name: Label(components, each) for name, each in groups.items()}
        conditions = Conditions(components, named)
        super().__init__(Opaque((spec,), components), conditions, {"tokens": Corruption(path, "data")})
        self.anchor = nn.Parameter(torch.zeros(()))
        self.gaussian = path
        self.weights, self.means, self.stds = weights, means, stds
        self.calls = 0
        """Rows that were asked, over all calls: what a receipt must say."""

    @staticmethod
    def gauss(path: GaussianPath, mean: Float[Tensor, "tokens width"], std: float) -> "MixtureOracle":
        """One Gaussian."""
        return MixtureOracle(path, torch.ones(1), mean[None], torch.tensor([std]))

    @staticmethod
    def atoms(path: GaussianPath, samples: Float[Tensor, "components tokens width"], weights: Tensor) -> "MixtureOracle":
        """A finite set of samples with their probabilities."""
        return MixtureOracle(path, weights, samples, torch.zeros(len(samples)))

    def layout(self, seeds: Sequence[int]) -> State:
        """Empty rows to sample into."""
        _, tokens, width = self.means.shape
        positions = torch.arange(tokens, dtype=torch.float32)[None, :, None].expand(len(seeds), -1, -1)
        return State.of({"tokens": Stream.of(torch.zeros(len(seeds), tokens, width), positions)}, seeds)

    def forward(
        self, state: State, condition: Condition, sites: Sites | None = None, modulations: ModulationCache | None = None
    ) -> dict[str, Tensor]:
        stream = state["tokens"]
        self.calls += len(state)
        t = stream.time.amax(1)[:, None, None].to(stream.values.dtype)
        chosen = (condition.vector >= len(self.conditions.named)).float()
        return {"tokens": self.posterior_mean(stream.values, t, chosen)}

    def posterior_mean(self, x: Float[Tensor, "rows tokens width"], t: Tensor, chosen: Float[Tensor, "rows components"]) -> Tensor:
        """E[x0 | x_t = x]; `t` broadcasts; `chosen` weighs the components. Of fewer tokens (a window's) it is as of the first ones."""
        alpha, sigma = self.gaussian.alpha(t)[..., None], self.gaussian.sigma(t)[..., None]
        means, stds = self.means.to(x.dtype)[None, :, : x.shape[1]], self.stds.to(x.dtype)[None, :, None, None]
        variance = (alpha * stds) ** 2 + sigma**2
        away = x[:, None] - alpha * means
        size = x.shape[1] * x.shape[2]
        log_p = -(away**2 / (2 * variance)).sum((2, 3)) - size / 2 * variance[:, :, 0, 0].log()
        share = (log_p + (self.weights * chosen).to(x.dtype).log()).softmax(1)[:, :, None, None]
        return (share * (means + alpha * stds**2 / variance * away)).sum(1)

    def flow(self, x: Float[Tensor, "rows tokens width"], t: Tensor, s: Tensor) -> Tensor:
        """Where the probability-flow ODE takes `x` from time `t` to `s`, exactly: one component, or samples of one number.

        The flow of one number keeps its quantile; it is found by bisection.
        """
        if len(self.weights) > 1:
            assert self.means.shape[1:] == (1, 1), "the flow of a mixture of several numbers has no closed form"
            share, edge = self.distribution(x, t), x.abs().max() / self.gaussian.sigma(t) + 10
            low, high = -edge.expand_as(x), edge.expand_as(x)
            for _ in range(60):
                middle = (low + high) / 2
                below = self.distribution(middle, s) < share
                low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            return (low + high) / 2

        def moments(t: Tensor) -> tuple[Tensor, Tensor]:
            alpha, sigma = self.gaussian.alpha(t), self.gaussian.sigma(t)
            return alpha * self.means[0].to(x.dtype), ((alpha * self.stds[0].to(x.dtype)) ** 2 + sigma**2).sqrt()

        (mean_t, std_t), (mean_s, std_s) = moments(t), moments(s)
        return mean_s + (x - mean_t) / std_t * std_s

    def distribution(self, x: Float[Tensor, "rows 1 1"], t: Tensor) -> Tensor:
        """P(x_t <= x) of samples that are one number."""
        alpha, sigma = self.gaussian.alpha(t), self.gaussian.sigma(t)
        means, stds, weights = (part.to(x.dtype).flatten() for part in (self.means, self.stds, self.weights))
        away = (x - alpha * means) / ((alpha * stds) ** 2 + sigma**2).sqrt()
        return (torch.special.ndtr(away) * weights).sum(-1, keepdim=True)
