"""Autoguidance: a bad version of the same denoiser."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.guidance.base import Branch
from anylatent.guidance.contrast import Contrast


class Autoguidance(Contrast, kind="autoguidance"):
    """Autoguidance: away from a smaller or less trained denoiser, asked the same.

    weak + scale (asked - weak) (Karras et al. 2024, 2406.02507, eq. 4), weak being any denoiser of the same tokens: the run's own
    weights as trained or averaged shortly, an early checkpoint, another run. It improves samples without a condition too.
    What `reflection` does with weak and strong denoisers becomes this in small steps, at `scale` 1 + `repeats`.
    """

    example: ClassVar[Mapping[str, Any]] = {"model": "trained"}
    neutral: ClassVar[Mapping[str, Any] | None] = {"model": "trained", "scale": 1.0}
    systems: ClassVar[tuple[str, ...]] = ("Autoguidance (2406.02507)",)

    model: str = Field(min_length=1, description="Weights of this run (trained, ema-0.9, trained@500), or another run's folder.")
    null: bool = Field(default=False, description="It is asked nothing: classifier-free guidance by a weaker denoiser.")

    def needs_null(self) -> bool:
        return self.null and self.guided()

    def denoisers(self) -> Collection[str]:
        return (self.model,) if self.guided() else ()

    def weak(self) -> Branch:
        return Branch("weak", "null" if self.null else "asked", denoiser=self.model)
