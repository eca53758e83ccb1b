"""Guidance that leaves the spread of the prediction as it was."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.guidance.rules.base import Rule, Scale, Tokens, made
from anylatent.moment import Here
from anylatent.types import Float, Tensor


class Rescaled(Rule, kind="rescaled"):
    """The linear rule, scaled back so that large scales do not oversaturate.

    x = share (std(asked) / std(g)) g + (1 - share) g, with g = weak + scale (asked - weak) (Lin et al. 2023, 2305.08891, eq. 15-16).
    Standard deviations are a row's, over all channels of the tokens that are made, of predicted clean tokens (the paper:
    of the network's output).
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {"share": 0.0}
    systems: ClassVar[tuple[str, ...]] = ("Zero terminal SNR schedules (2305.08891)",)

    share: float = Field(default=0.7, ge=0, le=1, description="phi; 0: the linear rule.")

    def extend(self, asked: Tokens, weak: Tokens, scale: Scale, here: Here) -> Tokens:
        guided = weak + scale * (asked - weak)
        if self.share == 0:
            return guided
        ratio = _spread(asked, here) / _spread(guided, here).clamp(min=1e-8)
        return guided * (self.share * ratio + (1 - self.share))


def _spread(x: Tensor, here: Here) -> Float[Tensor, "rows 1 1"]:
    """The standard deviation of each row's numbers."""
    count = made(x.new_ones(x.shape), here).sum((1, 2), keepdim=True)
    mean = made(x, here).sum((1, 2), keepdim=True) / count.clamp(min=1)
    return (made((x - mean).square(), here).sum((1, 2), keepdim=True) / (count - 1).clamp(min=1)).sqrt()
