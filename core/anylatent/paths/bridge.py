"""Diffusion bridges: paths from data to the tokens of another stream."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator

from anylatent.node import Stage
from anylatent.paths.base import GaussianPath, Path, Prediction, as_gaussian
from anylatent.paths.ratio import Brownian
from anylatent.spec import StreamSpec
from anylatent.types import Tensor


class Bridge(GaussianPath, kind="bridge"):
    """X_t = a x0 + b x1 + c z between data x0 and the clean tokens x1 of another stream, which is given.

    It is the reference path conditioned on where it ends (Doob's h-transform; Zhou et al. 2023, 2309.16948, sec. 3): with
    k = (r_t / r_1)^2 of the reference's noise-to-signal ratio r, and its alpha and sigma,

        a = alpha_t (1 - k)    b = k alpha_t / alpha_1    c = sigma_t sqrt(1 - k)

    A Brownian reference gives the Brownian bridge (BDBM; I2SB up to a change of time), `edm` and `vp` those of DDBM.

    Given x1, Y_t = (X_t - b x1) / sqrt(a^2 + c^2) is an ordinary variance-preserving path of x0 and noise. The engine
    moves Y, so every solver, guidance and correction applies as it is: `ddim` is DBIM (Zheng et al. 2024, 2405.15885,
    sec. 3) with its booting noise (Y_1 is pure noise while X_1 = x1), `ancestral` the exact posterior of the reference.
    Only the network sees X, over its standard deviation. Both ways at once (BDBM): two streams whose bridges name each
    other, trained with `given: 1`.
    """

    systems: ClassVar[tuple[str, ...]] = (
        "DDBM (2309.16948)", "I2SB (2302.05872)", "BDBM, Bidirectional Diffusion Bridge Models (2502.09655)", "DBIM (2405.15885)",
    )  # fmt: skip

    example: ClassVar[Mapping[str, Any]] = {"source": "drawing"}

    reference: Path = Field(
        default=Brownian(), description="The path that is pinned at both ends; a Gaussian one with signal left at t = 1."
    )
    source: str = Field(min_length=1, description="The stream that it begins from, token by token.")

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return {"source": (stage.others or (stage.stream,))[-1]}

    @model_validator(mode="before")
    @classmethod
    def _between_two(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and not value.get("source"):
            raise ValueError("path 'bridge' goes between two streams: name the other one as `source`")
        return value

    @model_validator(mode="after")
    def _suits(self) -> "Bridge":
        if not isinstance(self.reference, GaussianPath):
            raise ValueError(f"a bridge needs a Gaussian reference, given '{self.reference.kind}'")
        if self.reference.start("noise") < 1:
            raise ValueError(f"the reference '{self.reference.kind}' leaves no signal at t = 1 to pin: use brownian, edm, vp or ve")
        return self

    def partner(self) -> str:
        return self.source

    def refuses(self, spec: StreamSpec) -> str | None:
        if spec.name == self.source:
            return f"the bridge of stream '{spec.name}' begins from itself: name another stream as its `source`"
        return super().refuses(spec)

    def _reference(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The reference's ratio r, and 1 - k: the share of the way that is left."""
        path = self._gaussian
        ratio, last = path.sigma(t) / path.alpha(t), self._last(t)
        return ratio, (last - ratio) * (last + ratio) / last**2

    @property
    def _gaussian(self) -> GaussianPath:
        return as_gaussian(self.reference)

    def _last(self, t: Tensor) -> Tensor:
        end = t.new_ones(())
        return self._gaussian.sigma(end) / self._gaussian.alpha(end)

    def alpha(self, t: Tensor) -> Tensor:
        ratio, left = self._reference(t)
        return (left / (left + ratio**2)).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        ratio, left = self._reference(t)
        return ratio * (left + ratio**2).rsqrt()

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -self.sigma(t) * self.sigma_dot(t) / self.alpha(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        path, (ratio, left) = self._gaussian, self._reference(t)
        slope = (path.sigma_dot(t) - ratio * path.alpha_dot(t)) / path.alpha(t)
        return slope * (left + ratio**2).rsqrt() ** 3

    def time_of(self, ratio: Tensor) -> Tensor:
        return self._gaussian.time_of(ratio * (1 + (ratio / self._last(ratio)) ** 2).rsqrt())

    def start(self, kind: Prediction) -> float:
        """Just before t = 1, where the slope of alpha is infinite and noise tells nothing of the data."""
        return 0.995 if kind in ("noise", "score") else 0.9999

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """a, b and c of X_t."""
        path, (ratio, left) = self._gaussian, self._reference(t)
        alpha = path.alpha(t)
        return alpha * left, (1 - left) * alpha / path.alpha(t.new_ones(())), alpha * ratio * left.sqrt()

    def shown(self, x: Tensor, t: Tensor, source: Tensor | None = None) -> Tensor:
        """X_t over its standard deviation (of x0 and x1 that are independent and of size 1)."""
        if source is None:
            return x
        if source.shape != x.shape:
            raise ValueError(
                f"a bridge goes from token to token: its tokens are {tuple(x.shape)} (rows, tokens, width), "
                f"those of its source '{self.source}' {tuple(source.shape)}; tokenize both alike"
            )
        a, b, c = self.coefficients(t)
        return ((a**2 + c**2).sqrt() * x + b * source) * (a**2 + b**2 + c**2).rsqrt()
