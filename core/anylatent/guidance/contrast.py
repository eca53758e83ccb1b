"""What all guidances away from something weaker share."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from anylatent.guidance.base import Branch
from anylatent.guidance.rules.base import Rule
from anylatent.guidance.rules.linear import LinearRule
from anylatent.guidance.timed import Timed
from anylatent.lazy import torch
from anylatent.moment import Here, Moment
from anylatent.paths.base import Path
from anylatent.types import Bool, Float, Tensor


class Contrast(Timed):
    """weak + scale (asked - weak), or what another `rule` makes of the two: away from a prediction that is weaker in some way.

    A subclass says in which way, by its `weak` branch. Papers that write asked + s (asked - weak) mean s = scale - 1. A
    row at a time where its scale is 1 does not run its weak branch.
    """

    costs: ClassVar[Mapping[str, str]] = {"network_calls": "1"}

    scale: float = Field(default=2.0, ge=0, description="1: unguided, exactly; 0: the weak prediction alone.")
    rule: Rule = Field(default=LinearRule(), description="How the two predictions are made one.")

    def weak(self) -> Branch:
        """The branch to be guided away from, for all rows."""
        raise NotImplementedError

    def guided(self) -> bool:
        """Whether there is anything to do."""
        return self.scale != 1

    def scales(self, moment: Moment) -> Float[Tensor, " rows"]:
        """The scale of each row, now."""
        share = self.share(moment)
        return self.scale * share + (1 - share)

    def active(self, moment: Moment) -> Bool[Tensor, " rows"]:
        """The rows that are guided now."""
        return (self.share(moment) != 0) & self.guided()

    def supports(self, path: Path) -> str | None:
        return self.rule.supports(path, self.kind)

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> dict[str, Tensor]:
        return self.rule.memory(x)

    def plan(self, moment: Moment) -> Sequence[Branch]:
        active, weak = self.active(moment), self.weak()
        if not active.any():
            return [Branch("asked")]
        rows = active if weak.rows is None else active & weak.rows
        return [Branch("asked"), Branch(weak.name, weak.condition, rows, weak.denoiser, weak.absent, weak.hooks, weak.sees)]

    def combine(self, predictions: Mapping[str, Tensor], here: Here) -> Tensor:
        asked, name = predictions["asked"], self.weak().name
        if name not in predictions:
            return asked
        return self.extended(asked, predictions[name], here)

    def extended(self, asked: Tensor, weak: Tensor, here: Here) -> Tensor:
        """What the rule makes of both, in the rows that are guided now; the others remember what they did."""
        active, before = self.active(here.moment), dict(here.memory)
        data = self.rule.extend(asked, weak, self.scales(here.moment)[:, None, None], here)
        for remembered, value in here.memory.items():
            if remembered in before:
                here.memory[remembered] = torch.where(active.reshape(-1, *[1] * (value.dim() - 1)), value, before[remembered])
        return torch.where(active[:, None, None], data, asked)
