"""Guidance by the gradient of an energy of what is predicted."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from anylatent.corrections.base import Correction, no_such_stream
from anylatent.corrections.posterior import covariance, gaussian, gradient_of, restrained, variance
from anylatent.energies import Energy, Roughness
from anylatent.lazy import torch
from anylatent.measurements.base import Layout
from anylatent.moment import Here
from anylatent.node import Stage, TimeInterval
from anylatent.paths.base import Path
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor


class EnergyGuidance(Correction, kind="energy"):
    """Guidance by an energy of what is predicted: samples of p(x0) exp(-scale E(x0)), nearly.

    Minus scale times Cov[x0 | x_t] grad E(E[x0 | x_t]) is added. Loss-guided diffusion with one sample (Song et al. 2023, ICML,
    eq. 9), universal guidance (Bansal et al. 2023, 2302.07121, eq. 6), FreeDoM (Yu et al. 2023, 2303.09833, eq. 9). Exact for
    energies that are linear in x0 on one normal distribution; a curved energy is taken at the mean as if x0 given x_t were
    certain, so it pulls too hard at high noise. With several `draws` x_i of x0 around the prediction, as uncertain as independent
    numbers of variance 1 would be, it is the gradient of log mean_i exp(-scale E(x_i)) (Song et al., eq. 8): curved energies
    then pull as they should, at the price of the energy's own calls (the denoiser is asked once all the same).
    """

    example: ClassVar[Mapping[str, Any]] = {"energy": {"kind": "roughness"}, "through": False}
    variations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"through": {"through": True}}
    neutral: ClassVar[Mapping[str, Any]] = {"scale": 0}
    costs: ClassVar[Mapping[str, str]] = {"gradients": "through"}
    systems: ClassVar[tuple[str, ...]] = ("LGD (2023)", "Universal Guidance (2302.07121)", "FreeDoM (2303.09833)", "MPGD (2311.16424)")

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return super().example_for(stage, variation) | {"stream": stage.stream}

    energy: Energy = Field(default=Roughness(), description="What is to be low.")
    stream: str = Field(default="", description="The stream that it is of; empty: every one that is made.")
    scale: float = Field(default=1.0, description="How much it counts. 0: not at all.")
    draws: int = Field(default=1, ge=1, description="Draws of x0 that the energy is averaged over. 1: the prediction itself.")
    interval: TimeInterval = Field(default=(0.0, 1.0), description="Times t, from and to, at which it is active.")
    through: bool = Field(default=True, description="Differentiate the denoiser; else its Jacobian is taken to be diagonal (as in MPGD).")

    @property
    def gradient(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.through and self.scale != 0

    def supports(self, path: Path) -> str | None:
        return gaussian(self.kind, path)

    def refuses(self, specs: Sequence[StreamSpec]) -> str | None:
        if not self.energy.differentiable:
            return (
                f"correction '{self.kind}' goes by gradients, and energy '{self.energy.kind}' has none: search with `best_of`, or with "
                "the solver 'value-search'"
            )
        missing = no_such_stream(f"correction '{self.kind}'", self.stream, specs)
        return missing or next(filter(None, (self.energy.refuses(spec) for spec in specs if self._is_of(spec))), None)

    def _is_of(self, spec: StreamSpec) -> bool:
        return not spec.given and self.stream in ("", spec.name)

    def correct(self, data: Float[Tensor, "rows tokens width"], here: Here) -> Tensor:
        low, high = self.interval
        active = (here.moment.time >= low) & (here.moment.time <= high)
        if self.scale == 0 or not active.any() or not self._is_of(here.spec):
            return data
        with torch.enable_grad():
            x = data.detach().requires_grad_()
            instead = "; search with `best_of`, or with the solver 'value-search'"
            score = gradient_of(self._log_weight(x, here).sum(), x, f"correction '{self.kind}': energy '{self.energy.kind}'", instead)
        score = score * active[:, None, None]  # where it is not at work, nothing is differentiated
        added = covariance(data, here, score) if self.through else variance(here) * score
        moved = restrained(data + self.scale * added, here)
        return torch.where(active[:, None, None], moved, data)

    def _log_weight(self, x: Float[Tensor, "rows tokens width"], here: Here) -> Float[Tensor, " rows"]:
        """What exp(-scale E) is in the sum of the draws, as its logarithm over `scale`: the mean's, but for a constant."""
        layout = Layout.of(here)
        if self.draws == 1:
            return -self.energy.value(x, layout)
        spread = variance(here).sqrt() * (here.mask & ~here.keep)[..., None]
        energies = torch.stack([self.energy.value(x + spread * here.noise(k), layout) for k in range(self.draws)])
        return (-self.scale * energies).logsumexp(0) / self.scale
