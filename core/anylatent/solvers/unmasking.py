"""Unmasking in an order of its own: the surest tokens first."""

from collections.abc import Callable
from typing import ClassVar, Literal

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import Path
from anylatent.paths.vocabulary import Masked
from anylatent.solvers.base import Memory, Move, Query, Steps
from anylatent.solvers.discrete import DiscreteSolver
from anylatent.types import Float, Tensor


def _confidence(data: Tensor, drawn: Tensor) -> Tensor:
    return _log((data * drawn).sum(-1))


def _margin(data: Tensor, drawn: Tensor) -> Tensor:
    best = data.topk(2, -1).values
    return _log(best[..., 0] - best[..., 1])


def _entropy(data: Tensor, drawn: Tensor) -> Tensor:
    return (data * _log(data)).sum(-1)


def _random(data: Tensor, drawn: Tensor) -> Tensor:
    return torch.zeros_like(data[..., 0])


_SURENESS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "confidence": _confidence, "margin": _margin, "entropy": _entropy, "random": _random,
}  # fmt: skip
"""How sure a token is, of its probabilities and what was drawn."""


_ALIKE = 1e-3
"""Differences in sureness that say nothing."""


class Unmask(DiscreteSolver, kind="unmask"):
    """Unmasks a fixed number of tokens a step, the surest of them (Chang et al. 2022, 2202.04200, sec. 3.2).

    As many stay masked as the path says: (1 - alpha_s) / (1 - alpha_t) of those that are, rounded without losing count. `random`
    is the order of masked diffusion itself; one token a step is then exact, and so it is by `entropy` and `margin` (Kim et
    al. 2025, 2502.06768), which look at nothing that was drawn. By `confidence`, in what they were drawn to be, likely tokens
    come first and samples are likelier, and less diverse, than the model's.
    """

    systems: ClassVar[tuple[str, ...]] = ("MaskGIT (2202.04200)", "Muse (2301.00704)")

    by: Literal["confidence", "margin", "entropy", "random"] = Field(
        default="confidence", description="What makes a token sure: its own probability, its lead, low entropy; or chance."
    )
    randomness: float = Field(
        default=0.0, ge=0, description="Gumbel noise on the order, times the share that stays masked (MaskGIT uses 4.5). 0: none."
    )

    def supports(self, path: Path) -> str | None:
        if isinstance(path, Masked) and not path.replaced:
            return None
        return f"solver '{self.kind}' needs the path 'masked' without `replaced`, where unmasked tokens are final; given '{path.kind}'"

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> Memory:
        """`left`: how many tokens are masked, before rounding."""
        return {"left": x.new_zeros(x.shape[0])}

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        path = move.path
        assert isinstance(path, Masked), "checked by `supports`"
        data = self.tempered(path, (yield Query(x, move.t)))
        drawn = path.drawn(data, move.noise(0))
        # Padding is predicted to be nothing, what is given to be what it is: neither counts.
        hidden = (x[..., -1] == 1) & (data.sum(-1) > 0)
        moves = (move.s < move.t)[..., 0].expand(hidden.shape)
        unsure = hidden & moves & (data.amax(-1) < 1)
        stays = ((1 - path.alpha(move.s)) / (1 - path.alpha(move.t)))[..., 0].expand(hidden.shape).masked_fill(~moves, 0)
        left = _left(memory["left"], unsure, stays)
        sureness = _SURENESS[self.by](data, drawn) + self._noise(path, move)
        # The least sure stay masked; those whose time is over never do. A half goes down: rounding errors must not decide.
        rank = sureness.masked_fill(~unsure | (stays == 0), torch.inf).argsort(dim=-1, stable=True).argsort(-1)
        masked = unsure & (stays > 0) & (rank < (left - 1e-3).round()[:, None])
        return torch.where((hidden & ~masked)[..., None], drawn, x), {"left": left}

    def _noise(self, path: Masked, move: Move) -> Tensor:
        if self.by == "random":
            return move.noise(1)[..., 0]
        # Tokens that look alike are as sure as each other but for rounding, which depends on the batch: chance orders them.
        alike = _ALIKE * move.noise(2)[..., 0]
        if not self.randomness:
            return alike
        return alike + self.randomness * (1 - path.alpha(move.s[..., 0])) * move.noise(1)[..., 0]


def _left(before: Float[Tensor, " rows"], unsure: Tensor, stays: Float[Tensor, "rows tokens"]) -> Float[Tensor, " rows"]:
    """How many of the unsure tokens stay masked, if this share of each does.

    The count goes on from where it was before rounding, unless other tokens are masked now: at first, or noised again.
    """
    there = unsure.sum(-1).to(stays.dtype)
    share = (stays * unsure).sum(-1) / there.clamp(min=1)
    return torch.where((there - before).abs() <= 0.5, before, there) * share


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
