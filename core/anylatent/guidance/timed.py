"""When a guidance is at work, and how strongly."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from anylatent.guidance.base import Guidance
from anylatent.lazy import torch
from anylatent.moment import Moment
from anylatent.node import Node, TimeInterval
from anylatent.types import Float, Tensor


class Annealing(Node):
    """How strongly guidance acts at time t: a multiplier m(u) of what it adds, u = 1 - t (0 at the prior, 1 at the data).

    Each shape has mean 1 over u, so that it can be compared with a constant scale (Wang et al. 2024, 2404.13040):
    linear 2u, cosine 1 - cos(pi u), power (p + 1) u^p, peak 4 min(u, 1 - u), valley 2 |1 - 2u|, beta: the density of
    Beta(a, b). `floor` is the paper's clamp: not below that much, whatever the shape says.
    """

    example: ClassVar[Mapping[str, Any]] = {"shape": "cosine"}
    variations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        shape: {"shape": shape} for shape in ("linear", "power", "peak", "valley", "beta")
    }

    shape: Literal["linear", "cosine", "power", "peak", "valley", "beta"] = Field(
        default="linear", description="Of the multiplier, as time passes."
    )
    toward: Literal["data", "prior"] = Field(default="data", description="Where it is strong; prior: u = t, the shape turned round.")
    power: float = Field(default=2.0, gt=0, description="p of the shape power.")
    beta: tuple[float, float] = Field(default=(2.0, 2.0), description="a and b of the shape beta, 1 or more each.")
    floor: float = Field(default=0.0, ge=0, description="The multiplier is at least this.")

    @model_validator(mode="after")
    def _bounded(self) -> "Annealing":
        if min(self.beta) < 1:
            raise ValueError(f"beta {list(self.beta)} grows without bound at an end: expected two numbers of 1 or more")
        return self

    def at(self, time: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """The multiplier at each time."""
        u = time if self.toward == "prior" else 1 - time
        match self.shape:
            case "linear":
                m = 2 * u
            case "cosine":
                m = 1 - (math.pi * u).cos()
            case "power":
                m = (self.power + 1) * u**self.power
            case "peak":
                m = 4 * torch.minimum(u, 1 - u)
            case "valley":
                m = 2 * (1 - 2 * u).abs()
            case "beta":
                a, b = self.beta
                m = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)) * u ** (a - 1) * (1 - u) ** (b - 1)
        return m.clamp(min=self.floor)


class Timed(Guidance):
    """A guidance that acts in an interval of times (Kynkäänniemi et al. 2024, 2404.07724), more or less as time passes."""

    interval: TimeInterval = Field(default=(0.0, 1.0), description="Times t, from and to, at which it is active.")
    annealing: Annealing | None = Field(default=None, description="How its strength changes with time; none: it does not.")

    def share(self, moment: Moment) -> Float[Tensor, " rows"]:
        """How much of what it adds is added now: 0 outside of the interval."""
        low, high = self.interval
        inside = (moment.time >= low) & (moment.time <= high)
        strength = torch.ones_like(moment.time) if self.annealing is None else self.annealing.at(moment.time)
        return torch.where(inside, strength, 0.0)
