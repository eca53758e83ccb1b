"""Classifier guidance."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.corrections.base import Correction
from anylatent.corrections.posterior import FAINT, gaussian, levels, restrained
from anylatent.lazy import torch
from anylatent.measurements.base import Code, Layout
from anylatent.moment import Here
from anylatent.paths.base import Path
from anylatent.types import Float, Tensor


class ClassifierGuidance(Correction, kind="classifier"):
    """Classifier guidance: the gradient of a classifier of noisy tokens.

    scale sigma^2 / alpha grad log p(c | x_t) is added (Dhariwal & Nichol 2021, 2105.05233, algorithm 2). With `scale` 1 and the
    right classifier it is exactly the prediction under the condition c. From Python only: the classifier is a function of x_t
    `(B, N, C)`, t `(B, 1, 1)` and a `Layout` to log-probabilities `(B, K)`; c is the request's `measured["class"]` `(B, 1)`.
    Streams without one are left alone.
    """

    python_only: ClassVar[bool] = True
    neutral: ClassVar[Mapping[str, Any]] = {"scale": 0}
    measures: ClassVar[tuple[str, ...]] = ("class",)
    systems: ClassVar[tuple[str, ...]] = ("Classifier guidance (2105.05233)",)

    classifier: Code = Field(description="Log-probabilities of classes, given noisy tokens.")
    scale: float = Field(default=1.0, description="How much it counts. 0: not at all.")

    def supports(self, path: Path) -> str | None:
        return gaussian(self.kind, path)

    def correct(self, data: Float[Tensor, "rows tokens width"], here: Here) -> Tensor:
        if "class" not in here.measured or self.scale == 0:
            return data
        alpha, sigma = levels(here)
        with torch.enable_grad():
            x = here.x.detach().requires_grad_()
            said = self.classifier(x, here.t.flatten(1).amax(1)[:, None, None], Layout.of(here))
            wanted = said.gather(1, here.measured["class"].long())
            (score,) = torch.autograd.grad(wanted.sum(), x)
        return restrained(data + self.scale * sigma**2 / alpha.clamp(min=FAINT) * score, here)
