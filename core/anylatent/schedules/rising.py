"""Schedules that go up again: noise is added anew, or found by inversion, and taken away with what is known by then."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from anylatent.lazy import torch
from anylatent.node import Spec
from anylatent.paths.base import Path
from anylatent.schedules.base import Schedule, shared
from anylatent.schedules.spaced import Uniform
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.state import Stream


class Rise(Spec):
    """From the time `low` back to `high`, `repeats` times."""

    low: float = Field(default=0.1, gt=0, lt=1, description="The time that is reached before going up.")
    high: float = Field(default=0.5, gt=0, le=1, description="The time that is gone up to.")
    repeats: int = Field(default=1, ge=0, description="How often. 0: never.")

    @model_validator(mode="after")
    def _rises(self) -> "Rise":
        if self.low >= self.high:
            raise ValueError(f"a rise of a restart goes up: its low {self.low} is not below its high {self.high}")
        return self


class Rising(Schedule):
    """A falling schedule `of`, some of whose steps are made again."""

    of: Schedule = Field(default=Uniform(), description="The schedule that falls.")

    @property
    def rises(self) -> bool:
        return True

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        times = self.of.times(n, path, start)
        return times[torch.tensor(self.visits(times.tolist()))]

    def visits(self, times: list[float]) -> list[int]:
        """The indices of these falling times in the order in which they are visited."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _falls(self) -> "Rising":
        if self.of.rises:
            raise ValueError(f"schedule '{self.kind}' goes up from a schedule that falls, given '{self.of.kind}', which rises itself")
        shared(self.kind, self.of)
        return self


class Restart(Rising, kind="restart"):
    """Restart: from a low time back to a high one with fresh noise, and down again (Xu et al. 2023, 2306.14878, sec. 3.1).

    Contracts the errors of a deterministic solver as an SDE does, without an SDE's errors at few steps. Each interval goes up
    from the step nearest to `low` to the one nearest to `high`, and makes the steps between them again.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {"intervals": []}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "again"}
    systems: ClassVar[tuple[str, ...]] = ("Restart sampling (2306.14878)",)

    intervals: tuple[Rise, ...] = Field(default=(Rise(),), description="Where to go up, and how often.")

    def visits(self, times: list[float]) -> list[int]:
        last = len(times) - 1
        order = list(range(last + 1))
        # The latest interval first: inserting there leaves earlier indices where they are.
        for interval in sorted(self.intervals, key=lambda each: each.low):
            low = min(range(1, last), key=lambda i: abs(times[i] - interval.low), default=0)
            high = min(range(low), key=lambda i: abs(times[i] - interval.high), default=0)
            if high < low:
                order[order.index(low) + 1 : order.index(low) + 1] = list(range(high, low + 1)) * interval.repeats
        return order


class Resample(Rising, kind="resample"):
    """RePaint: every `jump` steps, `jump` steps are undone and made again (Lugmayr et al. 2022, 2201.09865, algorithm 1).

    Lets made tokens agree with given ones (`masked-completion`). A jump is one noising: its law is that of many small ones.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {"repeats": 1}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "again"}
    systems: ClassVar[tuple[str, ...]] = ("RePaint (2201.09865)",)

    jump: int = Field(default=2, ge=1, description="Steps that are undone at once (j in the paper, of 250 steps: 10).")
    repeats: int = Field(default=2, ge=1, description="How often steps are made in all (r in the paper: 10). 1: no resampling.")

    def visits(self, times: list[float]) -> list[int]:
        last = len(times) - 1
        left = {last - k: self.repeats - 1 for k in range(1, last - self.jump + 1, self.jump)}
        at, order = 0, [0]
        while at < last:
            at += 1
            order.append(at)
            if left.get(at, 0):
                left[at] -= 1
                at -= self.jump
                order.append(at)
        return order


class Reflected(Schedule, kind="reflection"):
    """The schedule `of` in which each of the first `steps` is undone `repeats` times: what the guidance `reflection` makes of it."""

    of: Schedule
    steps: int
    repeats: int

    @property
    def called(self) -> str:
        return f"guidance '{self.kind}' on {self.of.called}"

    @property
    def rises(self) -> bool:
        return True

    @property
    def reflects(self) -> bool:
        return True

    @property
    def own_times(self) -> bool:
        return self.of.own_times

    def apart(self, spec: StreamSpec) -> bool:
        return self.of.apart(spec)

    def refuses(self, spec: StreamSpec) -> str | None:
        return self.of.refuses(spec)

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        if self.of.rises:
            raise ValueError(f"guidance 'reflection' undoes steps of a schedule that falls, given '{self.of.kind}', which rises")
        return self._undone(self.of.times(n, path, start), 0)

    def token_times(self, n: int, path: Path, start: float, stream: "Stream", spec: StreamSpec) -> Tensor | None:
        times = self.of.token_times(n, path, start, stream, spec)
        return times if times is None else self._undone(times, 1)

    def _undone(self, times: Tensor, axis: int) -> Tensor:
        last = times.shape[axis] - 1
        again = [self.repeats if i < self.steps else 0 for i in range(last)]
        visits = [0, *(index for i in range(last) for index in [i + 1, *[i, i + 1] * again[i]])]
        return times.index_select(axis, torch.tensor(visits))
