"""Schedules that are a list of knots: published, or searched for."""

from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from anylatent.lazy import torch
from anylatent.paths.base import GaussianPath, Path
from anylatent.schedules.base import Schedule, ramp
from anylatent.types import Float, Tensor


class Table(Schedule, kind="table"):
    """Knots, and between them log-linear noise-to-signal ratios (Sabour et al. 2024, 2404.14507); then 0.

    With n steps and n knots, the knots themselves. For other n the curve through them is visited at n equally spaced places.
    """

    systems: ClassVar[tuple[str, ...]] = ("Align Your Steps (2404.14507)", "AutoDiffusion, its time steps (2309.10438)")

    knots: tuple[float, ...] = Field(
        default=(80.0, 4.0, 1.0, 0.25, 0.03),
        min_length=2,
        description="Ratios sigma / alpha, or times, that fall; the 0 at the end is added.",
    )
    unit: Literal["ratio", "time"] = Field(
        default="ratio", description="What knots are: noise-to-signal ratios, which suit any Gaussian path, or times of one path."
    )

    @field_validator("knots")
    @classmethod
    def _falls(cls, knots: tuple[float, ...]) -> tuple[float, ...]:
        if knots[-1] <= 0 or any(later >= earlier for earlier, later in pairwise(knots)):
            raise ValueError(f"the knots of a schedule fall and stay above 0, given {list(knots)}")
        return knots

    def times(self, n: int, path: Path, start: float = 1.0) -> Float[Tensor, " times"]:
        if self.unit == "ratio" and not isinstance(path, GaussianPath):
            raise ValueError(f"schedule 'table' has ratios, and the path '{path.kind}' has none: give times, with `unit: time`")
        knots = torch.tensor(self.knots, dtype=torch.float64)
        if self.unit == "time" and knots[0] > 1:
            raise ValueError(f"schedule 'table' has the time {self.knots[0]}: times are between 0 and 1; ratios need `unit: ratio`")
        curve = knots.log()
        first = torch.tensor(start, dtype=torch.float64)
        if isinstance(path, GaussianPath) and self.unit == "ratio":
            first = path.sigma(first) / path.alpha(first)
        begin = _place(curve, first.log())
        places = begin + (1 - ramp(n - 1)) * (1 - begin) if len(ramp(n)) > 2 else begin[None]
        values = _at(curve, places).exp()
        times = path.time_of(values) if isinstance(path, GaussianPath) and self.unit == "ratio" else values
        return torch.cat((times.clamp(max=start), torch.zeros(1, dtype=torch.float64)))


def _at(curve: Tensor, place: Tensor) -> Tensor:
    """The polygon through the knots `curve`, at places in [0, 1]."""
    along = place * (len(curve) - 1)
    left = along.floor().clamp(max=len(curve) - 2).long()
    return torch.lerp(curve[left], curve[left + 1], along - left)


def _place(curve: Tensor, value: Tensor) -> Tensor:
    """Where on the falling polygon `value` is; 0 if it is above, and never quite at the end."""
    if value >= curve[0]:
        return torch.zeros((), dtype=torch.float64)
    left = min(int((curve > value).sum()) - 1, len(curve) - 2)
    along = left + (value - curve[left]) / (curve[left + 1] - curve[left])
    return (along / (len(curve) - 1)).clamp(max=1 - 1e-6)


def searched(
    error: Callable[[Float[Tensor, " times"]], float], times: Float[Tensor, " times"], rounds: int = 4, reach: float = 0.5
) -> Float[Tensor, " times"]:
    """Times with less `error` than the given ones, which fall to 0: knots are moved one by one between their neighbours.

    A coordinate search (the idea of searching for time steps: Li et al. 2023, 2309.10438): each inner knot tries the places a
    share `reach` of the way to the next and to the last, and stays where the error is least; after each round the share is
    halved. It makes `rounds * 2 * (steps - 1) + 1` measurements and never returns worse than it was given. `error` might be
    the distance of samples of these times to samples of many more steps, from the same seeds.
    `Table(knots=tuple(times[:-1].tolist()), unit="time")` is the schedule.
    """
    best, least = times.clone(), error(times)
    for _ in range(rounds):
        for i in range(1, len(times) - 1):
            for neighbour in (i - 1, i + 1):
                tried = best.clone()
                tried[i] = torch.lerp(best[i], best[neighbour], reach)
                found = error(tried)
                if found < least:
                    best, least = tried, found
        reach /= 2
    return best
