"""What corrections that go by data, or by an energy, share: E[x0 | x_t, y] in place of E[x0 | x_t]."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field, model_validator

from anylatent.corrections.base import Correction, no_such_stream
from anylatent.lazy import torch
from anylatent.measurements.base import Layout, Measurement
from anylatent.measurements.select import Identity
from anylatent.moment import Here
from anylatent.paths.base import Path, as_gaussian, not_gaussian
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor

FAINT = 0.02
"""Where less than this of the data is left in x_t, its gradient says nothing, and a denoiser's Jacobian is mostly error."""


def levels(here: Here) -> tuple[Float[Tensor, "rows 1 1"], Float[Tensor, "rows 1 1"]]:
    """alpha and sigma of each row; of tokens at times of their own, at the latest."""
    path, t = as_gaussian(here.path), here.t.flatten(1).amax(1)[:, None, None]
    return path.alpha(t), path.sigma(t)


def _token_levels(here: Here) -> tuple[Float[Tensor, "rows #tokens 1"], Float[Tensor, "rows #tokens 1"]]:
    path = as_gaussian(here.path)
    return path.alpha(here.t), path.sigma(here.t)


def variance(here: Here, prior: float = 1.0, whole: bool = False) -> Float[Tensor, "rows #tokens 1"]:
    """Var[x0 | x_t] of each number, if the data were independent normal numbers with standard deviation `prior`.

    `whole`: one for a row, at its latest token's time: for what was measured of several tokens.
    """
    alpha, sigma = levels(here) if whole else _token_levels(here)
    return (sigma * prior) ** 2 / ((alpha * prior) ** 2 + sigma**2)


def covariance(data: Tensor, here: Here, v: Float[Tensor, "rows tokens width"], prior: float = 1.0) -> Tensor:
    """Cov[x0 | x_t] v, which is sigma^2 / alpha (each token's own) times the denoiser's transposed Jacobian times `v`.

    Tweedie's formula of the second order (Rozet et al. 2024, 2405.13712, eq. 13). So it is also what a score v of the data adds to
    the prediction: E[x0 | x_t, y] = E[x0 | x_t] + sigma^2 / alpha grad log p(y | x_t). Where nearly nothing of the data is left,
    or the denoiser was not differentiated, the covariance of independent numbers.
    """
    alpha, sigma = _token_levels(here)
    guess = variance(here, prior) * v
    if not here.x.requires_grad:
        return guess
    (pulled,) = torch.autograd.grad(data, here.x, v, retain_graph=True)
    return torch.where(alpha < FAINT, guess, sigma**2 / alpha.clamp(min=FAINT) * pulled)


def gradient_of(value: Tensor, x: Tensor, whose: str, instead: str = "") -> Tensor:
    """The gradient of a sum by `x`. Errors: `ValueError`, if torch saw no way from `x` to it: "`whose` has no gradient"."""
    (found,) = torch.autograd.grad(value, x, allow_unused=True) if value.requires_grad else (None,)
    if found is None:
        raise ValueError(f"{whose} has no gradient: it is not of the tokens, or is detached, rounded or computed without torch{instead}")
    return found


def restrained(data: Float[Tensor, "rows tokens width"], here: Here) -> Tensor:
    """Corrected predictions where predictions can be: padding 0, centred where the stream is."""
    whole = ~(here.keep & here.mask).any(1)[:, None, None]
    return torch.where(whole, here.path.project(here.spec, data, here.mask), data) * here.mask[..., None]


def gaussian(kind: str, path: Path) -> str | None:
    """Why a correction by scores cannot be used on this path, or None."""
    return not_gaussian(path, f"correction '{kind}' adds a score on")


@dataclass(frozen=True)
class Observed:
    """What was measured of a stream, and how."""

    y: Tensor
    measurement: Measurement
    layout: Layout

    def missed(self, x: Float[Tensor, "rows tokens width"]) -> Tensor:
        """y - A x: what a sample `x` misses the measured values by."""
        return self.y - self.measurement.apply(x, self.layout)

    def count(self, x: Float[Tensor, "rows tokens width"]) -> Float[Tensor, "rows 1 1"]:
        """How many values were measured."""
        return self.measurement.support(x, self.layout).flatten(1).sum(1).clamp(min=1)[:, None, None]


class Consistent(Correction):
    """Makes predictions consistent with what was measured: `measured` must have "y" for a stream; others are left as they are."""

    example: ClassVar[Mapping[str, Any]] = {"measurement": {"kind": "identity", "noise": 0.5}}
    measures: ClassVar[tuple[str, ...]] = ("y",)
    any_function: ClassVar[bool] = False
    """Whether it only differentiates a measurement, which may then be any function."""

    measurement: Measurement = Field(default=Identity(), description="What was measured.")

    @model_validator(mode="after")
    def _suits(self) -> Any:
        if not (self.any_function or self.measurement.linear):
            raise ValueError(f"correction '{self.kind}' needs a linear measurement, '{self.measurement.kind}' is none: use dps")
        return self

    def supports(self, path: Path) -> str | None:
        return gaussian(self.kind, path)

    def refuses(self, specs: Sequence[StreamSpec]) -> str | None:
        return no_such_stream(f"correction '{self.kind}', by its measurement '{self.measurement.kind}',", self.measurement.stream, specs)

    def correct(self, data: Float[Tensor, "rows tokens width"], here: Here) -> Tensor:
        if "y" not in here.measured:
            return data
        layout = Layout.of(here)
        support = self.measurement.support(data.detach(), layout)
        measured = here.measured["y"]
        # What stands where nothing is measured says nothing, whoever wrote y; one number a row may be written without an axis.
        y = measured[:, None] if measured.dim() == 1 else measured
        if y.shape != support.shape:
            raise ValueError(
                f"`Known.measured` of stream '{here.spec.name}', 'y', has {tuple(measured.shape[1:])} numbers a row: "
                f"correction '{self.kind}', by its measurement '{self.measurement.kind}', goes by {tuple(support.shape[1:])}"
            )
        observed = Observed(y * support, self.measurement, layout)
        return restrained(self.consistent(data, observed, here), here)

    def consistent(self, data: Float[Tensor, "rows tokens width"], observed: Observed, here: Here) -> Tensor:
        """E[x0 | x_t, y], nearly."""
        raise NotImplementedError


def by_measurement(family: type[Consistent] = Consistent) -> list[str]:
    """The kinds of correction that go by a measurement, of all that have been imported."""
    return sorted({kind for each in family.__subclasses__() for kind in (each.kind, *by_measurement(each)) if kind})


class Scaled(Consistent):
    """Adds `scale` times a move towards what was measured, which hangs on the denoiser's derivative; with 0 it is not asked for."""

    neutral: ClassVar[Mapping[str, Any] | None] = {"scale": 0}
    costs: ClassVar[Mapping[str, str]] = {"gradients": "1"}

    scale: float = Field(default=1.0, ge=0, description="How much of the move is made. 0: nothing.")

    @property
    def gradient(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.scale != 0

    def correct(self, data: Float[Tensor, "rows tokens width"], here: Here) -> Tensor:
        return data if self.scale == 0 else super().correct(data, here)
