"""Classifier guidance."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from anylatent.corrections.base import Correction
from anylatent.corrections.posterior import FAINT, gaussian, gradient_of, restrained
from anylatent.lazy import torch
from anylatent.measurements.base import Code, Layout
from anylatent.moment import Here
from anylatent.node import Stage, TimeInterval
from anylatent.paths.base import Path, as_gaussian
from anylatent.types import Bool, Float, Int, Tensor


class ByClasses(Correction):
    """Adds scale sigma^2 / alpha grad log p(c | x_t), in rows that are to be of some class c (2105.05233, algorithm 2).

    Each token's own alpha and sigma; nothing where alpha is below 0.02: there a classifier's errors would be multiplied by 50 and more.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {"scale": 0}
    costs: ClassVar[Mapping[str, str]] = {"gradients": "1"}

    scale: float = Field(default=1.0, description="How much it counts. 0: not at all.")
    interval: TimeInterval = Field(default=(0.0, 1.0), description="Times t, from and to, at which it is active.")

    def supports(self, path: Path) -> str | None:
        return gaussian(self.kind, path)

    def correct(self, data: Float[Tensor, "rows tokens width"], here: Here) -> Tensor:
        if self.scale == 0 or here.spec.given:
            return data
        low, high = self.interval
        active = here.rows & (here.moment.time >= low) & (here.moment.time <= high) & self.asked(here)
        if not active.any():
            return data
        path = as_gaussian(here.path)
        alpha, sigma = path.alpha(here.t), path.sigma(here.t)
        faint = alpha < FAINT
        added = self.scale * sigma**2 / alpha.clamp(min=FAINT) * self.slope(here, active)
        moved = restrained(data + torch.where(faint, 0.0, added), here)
        return torch.where((active & ~faint.flatten(1).all(1))[:, None, None], moved, data)

    def asked(self, here: Here) -> Bool[Tensor, " rows"]:
        """The rows that are to be of some class."""
        raise NotImplementedError

    def slope(self, here: Here, active: Bool[Tensor, " rows"]) -> Float[Tensor, "rows tokens width"]:
        """grad log p(c | x_t) by this stream's tokens, of the active rows."""
        raise NotImplementedError


class ClassifierGuidance(ByClasses, kind="classifier"):
    """Classifier guidance: the gradient of a classifier of noised tokens, that the recipe trains under `classifiers`.

    scale sigma^2 / alpha grad log p(c | x_t) is added (Dhariwal & Nichol 2021, 2105.05233, algorithm 2); c is what each row is
    asked of the `condition`, and a row that is not asked it is left alone and costs nothing. With `scale` 1 and the right
    classifier it is exactly the prediction under the condition c; a trained one has good odds and too small slopes, and needs more.
    Where less than 0.02 of the data is left (alpha: a first step at t = 1) nothing is added, as of a trained one that is mostly error.
    The gradient is by the noised tokens of all streams together, one backward pass for all of them: the joint sample is guided
    as one. All streams must be on Gaussian paths. The denoiser is not differentiated, and need not know the condition.

    With `sees: predicted` the classifier is shown what is predicted of the clean tokens, at time 0, and the gradient goes on through
    the denoiser; `marginal` below 1 takes less than the whole of log sum_k exp f_k off the class's own logit f_c (EluCD: Ma et al.
    2023, 2310.11311, their preconditioning, without other activations: those of the backbones are smooth).
    """

    example: ClassVar[Mapping[str, Any]] = {"condition": "label", "scale": 2}
    variations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"predicted": {"sees": "predicted", "marginal": 0.5}}
    costs: ClassVar[Mapping[str, str]] = {"gradients": "1 + (sees == 'predicted')"}
    systems: ClassVar[tuple[str, ...]] = ("Classifier guidance, ADM (2105.05233)", "EluCD (2310.11311)")

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return super().example_for(stage, variation) | {"condition": stage.condition}

    condition: str = Field(min_length=1, description="Whose classifier it asks: one of the recipe's `classifiers`.")
    sees: Literal["noised", "predicted"] = Field(default="noised", description="Which tokens it is shown.")
    marginal: float = Field(default=1.0, ge=0, le=1, description="How much the sum of all classes counts. 1: log p(c | x).")

    @property
    def gradient(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.sees == "predicted" and self.scale != 0

    def classifiers(self) -> tuple[str, ...]:
        return (self.condition,)

    def asked(self, here: Here) -> Bool[Tensor, " rows"]:
        return here.classes[self.condition] >= 0

    def slope(self, here: Here, active: Bool[Tensor, " rows"]) -> Float[Tensor, "rows tokens width"]:
        return here.slope(self.condition, active, self.sees == "predicted", self.marginal)


class ClassifierFunction(ByClasses, kind="classifier-function"):
    """Classifier guidance by any function of noised tokens, from Python only; of each stream by itself.

    As `classifier` (Dhariwal & Nichol 2021, 2105.05233, algorithm 2). The function is of x_t `(B, N, C)`, t `(B, 1, 1)` and a
    `Layout`, to log-probabilities `(B, K)`; c is the request's `measured["class"]` `(B, 1)`, and streams without one are left alone.
    """

    python_only: ClassVar[bool] = True
    measures: ClassVar[tuple[str, ...]] = ("class",)

    classifier: Code = Field(description="Log-probabilities of classes, given noised tokens.")

    def asked(self, here: Here) -> Bool[Tensor, " rows"]:
        return torch.full_like(here.rows, "class" in here.measured)

    def slope(self, here: Here, active: Bool[Tensor, " rows"]) -> Float[Tensor, "rows tokens width"]:
        with torch.enable_grad():
            x = here.x.detach().requires_grad_()
            said = self.classifier(x, here.t.flatten(1).amax(1)[:, None, None], Layout.of(here))
            wanted = said.gather(1, self._wanted(here, said.shape))
            slope = gradient_of(wanted.sum(), x, f"correction '{self.kind}': its classifier")
        here.count("gradients", active, 1.0)
        return slope

    def _wanted(self, here: Here, shape: tuple[int, ...]) -> Int[Tensor, "rows 1"]:
        """The class of each row. Errors: `ValueError` if it is not one a row, or not one of those that there are."""
        measured, (rows, classes) = here.measured["class"], shape
        if measured.numel() != rows or ((measured < 0) | (measured >= classes)).any():
            raise ValueError(
                f"`Known.measured` of stream '{here.spec.name}', 'class', is {measured.tolist()}: correction '{self.kind}' expects "
                f"one of 0 to {classes - 1} a row"
            )
        return measured.long().reshape(rows, 1)
