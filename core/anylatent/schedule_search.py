"""Times for a trained denoiser: those with which few steps come nearest to what many steps make of the same seeds."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from anylatent.generation import RowGenerator, gathered
from anylatent.known import Made
from anylatent.metrics.intervals import bootstrap
from anylatent.paths.base import GaussianPath
from anylatent.sampling import Sampling
from anylatent.schedules import Schedule, Table, searched
from anylatent.spec import StreamSpec
from anylatent.state import State
from anylatent.training.events import Event, Stage, Step
from anylatent.types import Bool, Float, Tensor


@dataclass(frozen=True)
class FoundSchedule:
    """A searched schedule, and how much nearer it comes to many steps, on `rows` seeds that the search did not see.

    Errors are mean distances of a row's tokens, in standard deviations of their stream; `less` is the share by which the error
    fell, from `low` to `high` with 95 % confidence (bootstrap over rows). `network_calls` are all that were made, by row and branch.
    """

    schedule: Table
    steps: int
    reference_steps: int
    before: float
    after: float
    less: float
    low: float
    high: float
    rows: int
    network_calls: int
    seconds: float


def search_schedule(
    generator: RowGenerator,
    start: State,
    asked: Sequence[Mapping[str, Any]],
    rounds: int = 4,
    reference_steps: int | None = None,
    watch: Callable[[Event], None] | None = None,
) -> FoundSchedule:
    """Search the schedule that a generator has, for its number of steps and its solver (see `schedules.searched`).

    It is searched on the first half of the start state's rows, each with what is asked of it, and judged on the others. The error
    is how far samples are from those of `reference_steps` (ten times the steps, 50 at least) with the schedule as it was. Streams
    that have no schedule of their own share the one that is found. `best_of` is left out. Errors: `ValueError` for solvers and
    paths that draw at random, and where there is nothing to search or to compare with.
    """
    began = time.perf_counter()
    sampling = generator.sampling.model_copy(update={"best_of": None})
    fine = max(50, 10 * sampling.steps) if reference_steps is None else reference_steps
    half = len(start) // 2
    problems = list(dict.fromkeys(_refusals(generator, sampling, fine, half)))
    if problems:
        raise ValueError("; ".join(problems))
    times = searched_times(generator, sampling)
    trials = Trials(generator, start, asked, watch or (lambda event: None))
    reference = trials.made(sampling.model_copy(update={"steps": fine}), torch.arange(len(start)), "reference").state

    def distances(schedule: Schedule, rows: Tensor) -> Float[Tensor, " rows"]:
        return trials.distances(reference, sampling.model_copy(update={"schedule": schedule}), rows)

    trials.watch(Stage("search", total := rounds * 2 * (sampling.steps - 1) + 1))
    first, others = torch.arange(half), torch.arange(half, len(start))
    tried: list[float] = []

    def error(times: Float[Tensor, " times"]) -> float:
        tried.append(float(distances(table_of(times), first).mean()))
        trials.watch(Step("search", len(tried), total))
        return tried[-1]

    found = table_of(searched(error, times, rounds))
    trials.watch(Stage("check", 1))
    both = torch.stack([distances(each, others) for each in (sampling.schedule, found)], 1)
    trials.watch(Step("check", 1, 1))
    before, after = both.mean(0).tolist()
    below, above = bootstrap(less, (both,), sampling.seed)
    share = less(both)
    seconds = time.perf_counter() - began
    return FoundSchedule(
        found, sampling.steps, fine, before, after, share, share - below, share + above, len(others), trials.network_calls, seconds
    )


@dataclass
class Trials:
    """The same rows, made in one way after the other; network calls are summed up."""

    generator: RowGenerator
    start: State
    asked: Sequence[Mapping[str, Any]]
    watch: Callable[[Event], None]
    network_calls: int = 0

    def made(self, sampling: Sampling, rows: Tensor, stage: str = "") -> Made:
        """These rows, with where they have been; a stage of this name is told how far it is."""
        start, asked = self.start.select(rows), [self.asked[row] for row in rows.tolist()]
        if stage:
            self.watch(Stage(stage, len(start)))
        finished = []
        for done in self.generator.stream(start, asked, sampling=sampling, trail=True):
            finished.append(done)
            if stage:
                self.watch(Step(stage, len(finished), len(start)))
        self.network_calls += int(sum(done.receipts["engine"]["network_calls"] for done in finished))
        return gathered(finished, start)

    def distances(self, reference: State, sampling: Sampling, rows: Tensor) -> Float[Tensor, " rows"]:
        """Of each row, made so, from the reference: root mean squares, in standard deviations of a stream, and their mean over streams."""
        made, found = self.made(sampling, rows).state, []
        for spec in self.generator.denoiser.specs:
            whole = made_tokens(reference, spec)
            if whole.any():
                right, x = reference[spec.name].values.double(), made[spec.name].values
                spread = right[whole].var(0, unbiased=False).mean().clamp(min=1e-12)
                own = whole[rows, : x.shape[1]]
                apart = (x - right[rows, : x.shape[1]]).square().mean(-1) * own
                found.append((apart.sum(1) / own.sum(1).clamp(min=1) / spread).sqrt())
        return torch.stack(found).mean(0).cpu()


def made_tokens(state: State, spec: StreamSpec) -> Bool[Tensor, "rows tokens"]:
    """Where there are tokens that are neither padding nor given."""
    return state[spec.name].mask & ~state[spec.name].keep & (not spec.given)


def less(pairs: Float[Tensor, "rows 2"]) -> float:
    """The share by which the mean of the second column is below that of the first."""
    before, after = pairs.mean(0).tolist()
    return 1 - after / before if before else 0.0


def table_of(times: Float[Tensor, " times"], digits: int = 4) -> Table:
    """The schedule of these times, in so many digits, as it is printed; none is later than the first."""
    first = float(times[0])
    knots = [min(first, float(f"{t:.{digits}g}")) for t in times[:-1].tolist()]
    return Table(knots=tuple(knots if len(knots) > 1 else [first, first / 2]), unit="time")  # one step visits the first knot alone


def _searched_streams(generator: RowGenerator, sampling: Sampling) -> list[StreamSpec]:
    """Those that are made, by the common schedule."""
    own = {name for name, each in sampling.streams.items() if each.schedule is not None}
    return [spec for spec in generator.denoiser.specs if not spec.given and spec.name not in own]


def searched_times(generator: RowGenerator, sampling: Sampling) -> Float[Tensor, " times"]:
    """Where the search begins: the times of the schedule as it is. Errors: `ValueError` if they are not one list that falls."""
    schedule = sampling.guidance.course(sampling.schedule, sampling.steps)
    if schedule is not sampling.schedule:
        raise ValueError(
            f"guidance '{sampling.guidance.kind}' makes times of its own of a schedule, and what is searched is one list of times that "
            "falls: begin without it (--guidance)"
        )
    if schedule.rises or type(schedule).token_times is not Schedule.token_times:
        raise ValueError(
            f"schedule '{schedule.kind}' rises, or has times of their own for rows or tokens: what is searched is one list of times that "
            "falls; begin from such a one (--schedule uniform)"
        )
    shared = [generator.denoiser.corruptions[spec.name] for spec in _searched_streams(generator, sampling)]
    first, *others = [schedule.times(sampling.steps, each.path, each.path.start(each.prediction)) for each in shared]
    if any(not torch.equal(first, each) for each in others):
        raise ValueError(
            f"schedule '{schedule.kind}' has other times for each of the streams' paths: begin from one whose times are the same for all "
            "(--schedule uniform)"
        )
    return first


def _refusals(generator: RowGenerator, sampling: Sampling, fine: int, rows: int) -> Iterator[str]:
    for spec in generator.denoiser.specs:
        path, solver = generator.denoiser.path(spec.name), sampling.solver_of(spec.name)
        if spec.given:
            continue
        if not isinstance(path, GaussianPath):
            yield (
                f"stream '{spec.name}' goes along the path '{path.kind}', which draws tokens at random: samples of more steps are others, "
                "not nearer ones; a schedule is searched on Gaussian paths"
            )
        elif solver.stochastic:
            yield (
                f"solver '{solver.kind}' adds new noise: its samples of more steps are others, not nearer ones; search with one that adds "
                "none (--solver dpm++2m, unipc or euler), and try what is found with either"
            )
        elif not solver.calls:
            yield f"solver '{solver.kind}' chooses its own steps: there is little for a schedule to do; take dpm++2m, unipc or euler"
    if not _searched_streams(generator, sampling):
        yield "each stream has a schedule of its own in `sample.streams`: there is no common one to search"
    if sampling.steps < 2:
        yield f"{sampling.steps} step goes from the start to the end: there is no time between to move; search for 2 steps or more"
    if fine <= sampling.steps:
        yield f"{fine} steps are to be the reference for {sampling.steps}: take several times as many"
    if not rows:
        yield "a search needs 2 samples or more: half of them to search on, half to judge what was found"
