"""Adaptive projected guidance."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.guidance.rules.base import Rule, Scale, Tokens, inner, made
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.types import Float, Tensor


class Projected(Rule, kind="projected"):
    """Adaptive projected guidance (APG): the difference without its saturating part, shortened, and with momentum.

    asked + (scale - 1) d (Sadat et al. 2024, 2410.02416, alg. 1). The difference d = asked - weak gets `momentum` times the one
    before (negative: it pushes away from where it went), is shortened to `norm`, and its part along `asked`, which
    saturates, counts `parallel` times. Products and norms are over the tokens of a row that are made. `parallel` 1,
    `momentum` 0 and `norm` 0 are the linear rule.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {"parallel": 1.0, "norm": 0.0, "momentum": 0.0}
    systems: ClassVar[tuple[str, ...]] = ("APG (2410.02416)",)

    parallel: float = Field(default=0.0, ge=0, description="eta: what the part along the prediction counts.")
    norm: float = Field(default=0.0, ge=0, description="Longest difference, as the root mean square of its numbers; 0: any length.")
    momentum: float = Field(default=-0.5, gt=-1, lt=1, description="beta: what the last difference counts; the paper's are negative.")

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> dict[str, Tensor]:
        return {"difference": torch.zeros_like(x)} if self.momentum else {}

    def extend(self, asked: Tokens, weak: Tokens, scale: Scale, here: Here) -> Tokens:
        if (self.parallel, self.norm, self.momentum) == (1, 0, 0):
            return weak + scale * (asked - weak)
        difference = asked - weak
        if self.momentum:
            difference = difference + self.momentum * here.memory["difference"]
            here.memory["difference"] = difference
        if self.norm:
            count = made(torch.ones_like(asked), here).sum((1, 2), keepdim=True).clamp(min=1)
            length = (inner(made(difference, here), difference) / count).sqrt()
            difference = difference * (self.norm / length.clamp(min=1e-12)).clamp(max=1)
        if self.parallel != 1:
            along = made(asked, here)
            share = inner(difference, along) / inner(along, along).clamp(min=1e-12)
            difference = difference - (1 - self.parallel) * share * along
        return asked + (scale - 1) * difference
