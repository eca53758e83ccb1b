"""Self-attention guidance."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from anylatent.guidance.base import Branch
from anylatent.guidance.contrast import Contrast
from anylatent.hooks.attention_received import AttentionReceived
from anylatent.hooks.base import Hook
from anylatent.lazy import torch
from anylatent.moment import Here, Moment
from anylatent.nn.blur import blurred
from anylatent.nn.sites import Site
from anylatent.paths.base import Path, as_gaussian, not_gaussian
from anylatent.state import State
from anylatent.types import Float, Tensor


class SelfAttention(Contrast, kind="self-attention"):
    """Self-attention guidance (SAG): away from what is said when the tokens that get attention are blurred.

    Hong et al. 2022, 2210.00939, alg. 1: the predicted clean tokens are blurred over their places, and noised
    again with the noise that was predicted; where a token of `block` gets more than `threshold` times the mean attention it
    is replaced so. The denoiser is asked again, and the noise that it then predicts is guided away from: noise + (scale - 1)
    (noise - blurred noise). Needs no condition. The paper blurs what its tokens are made of, under a map of tokens; here a token
    is replaced as a whole, and tokens without places by the row's mean token. `threshold` 0 blurs all (their blur guidance).
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {"scale": 1.0}
    systems: ClassVar[tuple[str, ...]] = ("SAG (2210.00939)",)

    scale: float = Field(default=1.75, ge=0, description="1: unguided, exactly; the paper's s is scale - 1.")
    block: int = Field(default=0, ge=0, description="The block whose attention is looked at, from 0; the paper: the deepest.")
    threshold: float = Field(default=1.0, ge=0, description="Tokens that get more than this times the mean attention are blurred.")
    sigma: float = Field(default=1.0, gt=0, description="Of the blur, in steps of the axes.")

    def hooks(self) -> Collection[Hook]:
        return (AttentionReceived(block=self.block),) if self.guided() else ()

    def supports(self, path: Path) -> str | None:
        return not_gaussian(path, f"guidance '{self.kind}' blurs what was noised along") or super().supports(path)

    def weak(self) -> Branch:
        return Branch("blurred")

    def plan(self, moment: Moment) -> Sequence[Branch]:
        return [Branch("asked", hooks=tuple(self.hooks()))] if self.active(moment).any() else [Branch("asked")]

    def branches(self) -> set[str]:
        return super().branches() | ({self.weak().name} if self.guided() else set())

    def follow(self, predictions: Mapping[str, Mapping[str, Tensor]], here: Mapping[str, Here]) -> Sequence[Branch]:
        active = self.active(next(iter(here.values())).moment)
        if "asked" not in predictions or not active.any():
            return []
        shifts = {name: _alpha(each) * self._change(predictions["asked"][name], each) for name, each in here.items()}
        return [Branch("blurred", rows=active, sees=_shifted(shifts))]

    def combine(self, predictions: Mapping[str, Tensor], here: Here) -> Tensor:
        asked = predictions["asked"]
        if "blurred" not in predictions:
            return asked
        # The data that the second noise means at the tokens as they are, not at the blurred ones.
        return self.extended(asked, predictions["blurred"] - self._change(asked, here), here)

    def _change(self, data: Float[Tensor, "rows tokens width"], here: Here) -> Float[Tensor, "rows tokens width"]:
        """What blurring changes of the predicted clean tokens, where they get attention; 0 where that is not known (any more)."""
        steps = here.positions.new_tensor([axis.step for axis in here.spec.axes])
        attended = torch.zeros_like(here.mask)
        for row, received in here.noted("received", Site("attend", self.block), "asked").items():
            attended[row, here.mask[row]] = received[:, 0] > self.threshold
        change = blurred(data, here.positions / steps, here.mask, self.sigma) - data
        return torch.where((attended & ~here.keep)[..., None], change, 0.0)


def _alpha(here: Here) -> Tensor:
    return as_gaussian(here.path).alpha(here.t)


def _shifted(shifts: Mapping[str, Tensor]) -> Callable[[State], State]:
    def sees(state: State) -> State:
        return state.with_values({name: state[name].values + shift for name, shift in shifts.items()})

    return sees
