"""Guidance away from the same denoiser, perturbed."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from anylatent.guidance.base import Branch
from anylatent.guidance.contrast import Contrast
from anylatent.hooks.base import Hook
from anylatent.hooks.perturb_attention import PerturbAttention
from anylatent.spec import StreamSpec


class Perturbed(Contrast, kind="perturbed"):
    """Perturbed guidance: away from what the denoiser says when a hook disturbs it.

    perturbed + scale (asked - perturbed), which needs no condition and no null. With `perturb-attention` it is PAG (Ahn et al.
    2024, 2403.17377; identity attention) or SEG (Hong 2024, 2408.00760; blurred queries), with `skip-blocks` skip-layer
    guidance (STG: Hyung et al. 2024, 2411.18664); any other hook does as well. Those papers' scale s is `scale` - 1.
    """

    example: ClassVar[Mapping[str, Any]] = {"scale": 4.0}
    neutral: ClassVar[Mapping[str, Any] | None] = {"scale": 1.0}
    systems: ClassVar[tuple[str, ...]] = ("PAG (2403.17377)", "SEG (2408.00760)", "STG (2411.18664)")

    hook: Hook = Field(default=PerturbAttention(), description="What disturbs the denoiser, in this branch only.")

    def hooks(self) -> Collection[Hook]:
        return (self.hook,) if self.guided() else ()

    def refuses(self, specs: Sequence[StreamSpec]) -> str | None:
        if self.guided() and (self.hook.idle or self.hook.takes_from):
            return f"guidance '{self.kind}' needs what disturbs its branch: hook '{self.hook.kind}' as it is set changes nothing there"
        return super().refuses(specs)

    def weak(self) -> Branch:
        return Branch("perturbed", hooks=(self.hook,))
