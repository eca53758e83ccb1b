"""Classifier-free guidance with the null's noise."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from anylatent.guidance.base import Branch
from anylatent.guidance.timed import Timed
from anylatent.lazy import torch
from anylatent.moment import Here, Moment
from anylatent.paths.base import Path, as_gaussian, not_gaussian
from anylatent.types import Tensor


class PlusPlus(Timed, kind="classifier-free++"):
    """CFG++: classifier-free guidance whose data are noised again with the null's noise.

    The data null + amount (asked - null), with the null's noise (Chung et al. 2024, 2406.08070, alg. 2). A DDIM step of that is a
    step of classifier-free guidance whose scale is amount / (1 - r_s / r_t), r = sigma / alpha at the step's two times; said
    like this it serves every solver (for those that are not DDIM it is an approximation). It interpolates between null and
    asked: no scale is neutral, and large scales come at small steps by themselves.
    """

    costs: ClassVar[Mapping[str, str]] = {"network_calls": "1"}
    systems: ClassVar[tuple[str, ...]] = ("CFG++ (2406.08070)",)

    amount: float = Field(default=0.6, ge=0, le=1, description="lambda; 0: unconditional, 1: the asked data with the null's noise.")

    def needs_null(self) -> bool:
        return True

    def supports(self, path: Path) -> str | None:
        return not_gaussian(path, f"guidance '{self.kind}' works on")

    def plan(self, moment: Moment) -> Sequence[Branch]:
        active = self.share(moment) != 0
        return [Branch("asked"), Branch("null", "null", active)] if active.any() else [Branch("asked")]

    def combine(self, predictions: Mapping[str, Tensor], here: Here) -> Tensor:
        asked, path, share = predictions["asked"], as_gaussian(here.path), self.share(here.moment)[:, None, None]
        if "null" not in predictions:
            return asked
        left = torch.zeros_like(here.t)
        if here.s is not None:
            left = path.sigma(here.s) * path.alpha(here.t) / (path.alpha(here.s) * path.sigma(here.t))
        scale = self.amount / (1 - torch.where(left < 1, left, 0.0))
        null = predictions["null"]
        return torch.where(share == 0, asked, asked + share * (null + scale * (asked - null) - asked))
