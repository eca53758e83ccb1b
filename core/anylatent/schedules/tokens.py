"""Schedules that look at a row's tokens: how many there are, and where."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from anylatent.lazy import torch
from anylatent.paths.base import Path
from anylatent.schedules.base import Schedule, shared, shifted
from anylatent.schedules.spaced import Uniform
from anylatent.spec import StreamSpec, missing_axes
from anylatent.state import from_first
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.state import Stream


class ByLength(Schedule, kind="by-length"):
    """A schedule, shifted for rows of more tokens than usual: by sqrt(m / n) (Esser et al. 2024, 2403.03206, eq. 23).

    m tokens that tell of each other need sqrt(m / n) times the noise to be as uncertain as n. For a row of `tokens` tokens
    it is the schedule itself.
    """

    systems: ClassVar[tuple[str, ...]] = ("SD3, resolution shift (2403.03206)",)

    of: Schedule = Field(default=Uniform(), description="The schedule for `tokens` tokens.")
    tokens: int = Field(default=64, ge=1, description="The usual number of tokens n: that of training.")

    @model_validator(mode="after")
    def _shared(self) -> "ByLength":
        shared(self.kind, self.of)
        return self

    @property
    def rises(self) -> bool:
        return self.of.rises

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        return self.of.times(n, path, start)

    def token_times(self, n: int, path: Path, start: float, stream: "Stream", spec: StreamSpec) -> Tensor:
        """`(B, steps + 1, 1)`."""
        times = self.of.times(n, path, start)
        # On the CPU: float64, which some devices lack.
        shift = (stream.mask.sum(1).cpu().double() / self.tokens).sqrt()[:, None]
        return (times[0] * shifted(times / times[0], shift))[..., None]


class Pyramid(Schedule, kind="pyramid"):
    """Tokens that are further along an axis lag behind: each block has all steps, later than the one before it.

    Diffusion forcing's pyramid (Chen et al. 2024, 2407.01392) and, with a `lag` of all steps, block by block
    (autoregression). Needs training with `forcing`, where tokens have times of their own. `lag` 0: all at once. Streams
    without axes move whole. Samples are as long as they were asked to be before the first step: they do not go on without end.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {"lag": 0}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "lag * (blocks - 1)"}
    systems: ClassVar[tuple[str, ...]] = (
        "Diffusion Forcing (2407.01392)",
        "Rolling Diffusion, of a length fixed before (2402.09470)",
        "FIFO-Diffusion, its diagonal, of a length fixed before (2405.11473)",
    )

    of: Schedule = Field(default=Uniform(), description="The times of each block.")
    axis: str = Field(default="", description="The axis, by name. Empty: the stream's first.")
    block: float = Field(default=1.0, gt=0, description="How much of the axis moves together, in its unit.")
    lag: int = Field(default=1, ge=0, description="Steps by which a block begins after the one before it.")

    @model_validator(mode="after")
    def _falls(self) -> "Pyramid":
        if self.of.rises:
            raise ValueError(f"schedule 'pyramid' delays a schedule that falls, given '{self.of.kind}', which rises")
        shared(self.kind, self.of)
        return self

    @property
    def own_times(self) -> bool:
        return self.lag > 0

    def apart(self, spec: StreamSpec) -> bool:
        return self.own_times and bool(spec.axes)

    def refuses(self, spec: StreamSpec) -> str | None:
        return missing_axes(f"schedule '{self.kind}'", [self.axis], [spec]) if self.axis and spec.axes else None

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        return self.of.times(n, path, start)

    def token_times(self, n: int, path: Path, start: float, stream: "Stream", spec: StreamSpec) -> Tensor | None:
        """`(B, n + 1 + lag (blocks - 1), N)`; None for a stream without axes. Errors: `ValueError` if it has others than `axis`."""
        names = [axis.name for axis in spec.axes]
        if not self.lag or not names:
            return None
        if refusal := self.refuses(spec):
            raise ValueError(refusal)
        places = stream.positions[..., names.index(self.axis) if self.axis else 0].cpu().double()
        # Half a thousandth, so that what rounding left below a block is in it.
        delay = self.lag * (from_first(places, stream.mask.cpu()) / self.block + 5e-4).floor().long()
        times = self.of.times(n, path, start)
        step = torch.arange(n + 1 + int(delay.max()))[:, None] - delay[:, None]
        return times[step.clamp(0, n)]
