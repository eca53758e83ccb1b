"""A solver for a trained denoiser: the linear steps that come nearest to what many steps make of the same seeds."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from anylatent.generation import RowGenerator
from anylatent.metrics.intervals import bootstrap
from anylatent.paths.base import GaussianPath
from anylatent.sampling import Sampling, StreamSampling
from anylatent.schedule_search import FoundSchedule, Trials, less, made_tokens, searched_times, table_of
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.fitted import Fitted
from anylatent.state import State
from anylatent.training.events import Event, Stage, Step
from anylatent.types import Float, Tensor

_DIGITS = 6
"""Significant digits of the numbers that are found, as they are printed; later steps are fitted to what earlier ones make with them."""


@dataclass(frozen=True)
class FoundSolver(FoundSchedule):
    """Fitted solvers by stream, for a schedule that was given; `before` is the error of `dpm++2m` in the same steps."""

    solvers: Mapping[str, Fitted]


def fit_solver(
    generator: RowGenerator,
    start: State,
    asked: Sequence[Mapping[str, Any]],
    reference_steps: int | None = None,
    watch: Callable[[Event], None] | None = None,
) -> FoundSolver:
    """Fit a `Fitted` solver for each stream that is made, for the generator's steps, schedule and guidance.

    Duan et al. 2023, 2305.14677 (OLSS-P: the times are given), with the prediction of the clean tokens: step k is the least-squares
    solution, over all tokens of the first half of the rows, of where `dpm++2m` in `reference_steps` (ten times the steps, 50 at least)
    is at the step's end, by where the fitted steps are and all they have heard. It is judged on the other rows. It costs
    (steps + 1) / 2 times the calls of a sample, and the reference. Errors: `ValueError` where steps are not such combinations, and for
    too few rows.
    """
    began = time.perf_counter()
    watch = watch or (lambda event: None)
    sampling = generator.sampling.model_copy(update={"best_of": None, "solver": DPMpp2M(), "streams": {}})
    half = len(start) // 2
    problems = list(dict.fromkeys(_refusals(generator, sampling, half)))
    if problems:
        raise ValueError("; ".join(problems))
    times = searched_times(generator, sampling)
    fine = max(50, 10 * sampling.steps) if reference_steps is None else reference_steps
    parts = max(2, round(fine / sampling.steps))
    trials = Trials(generator, start, asked, watch)
    streams = [spec for spec in generator.denoiser.specs if not spec.given]
    reference = trials.made(_through(sampling, _divided(times, parts), {}), torch.arange(len(start)), "reference")
    watch(Stage("fit", sampling.steps))
    rows: dict[str, list[tuple[float, ...]]] = {spec.name: [] for spec in streams}
    heard: dict[str, list[Tensor]] = {spec.name: [] for spec in streams}
    first = torch.arange(half)
    for k in range(sampling.steps):
        begun = torch.cat((times[: k + 1], times[-1:]))
        known = {name: _solver(begun, [*found, (0.0, 1.0)]) for name, found in rows.items()}  # whose last step shows what is predicted
        made = trials.made(_through(sampling, begun, known), first)
        for spec in streams:
            way, target = made.trail[spec.name], reference.trail[spec.name][:half, (k + 1) * parts]
            heard[spec.name].insert(0, way[:, -1])
            rows[spec.name].append(_nearest(target, [way[:, k], *heard[spec.name]], made_tokens(made.state, spec)))
        watch(Step("fit", k + 1, sampling.steps))
    found = {name: _solver(times, each) for name, each in rows.items()}

    watch(Stage("check", 1))
    others = torch.arange(half, len(start))
    both = torch.stack([trials.distances(reference.state, _through(sampling, times, each), others) for each in ({}, found)], 1)
    watch(Step("check", 1, 1))
    before, after = both.mean(0).tolist()
    share, (below, above) = less(both), bootstrap(less, (both,), sampling.seed)
    return FoundSolver(
        table_of(times, _DIGITS), sampling.steps, parts * sampling.steps, before, after, share, share - below, share + above, len(others),
        trials.network_calls, time.perf_counter() - began, found,
    )  # fmt: skip


def _through(sampling: Sampling, times: Float[Tensor, " times"], solvers: Mapping[str, Fitted]) -> Sampling:
    """The same, through these times, by these solvers of streams."""
    streams = {name: StreamSampling(solver=solver) for name, solver in solvers.items()}
    return sampling.model_copy(update={"steps": len(times) - 1, "schedule": table_of(times, _DIGITS), "streams": streams})


def _nearest(target: Tensor, columns: Sequence[Tensor], made: Tensor) -> tuple[float, ...]:
    """The numbers of the columns' sum that is nearest to the target, over the tokens that are made: least squares, in double."""
    tokens = target.shape[1]
    made = made[:, :tokens]
    design = torch.stack([column[:, :tokens][made].double().flatten() for column in columns], 1).cpu()
    found = torch.linalg.lstsq(design, target[made].double().flatten()[:, None].cpu(), driver="gelsd").solution[:, 0]
    return tuple(float(f"{number:.{_DIGITS}g}") for number in found.tolist())


def _solver(times: Float[Tensor, " times"], rows: Sequence[tuple[float, ...]]) -> Fitted:
    return Fitted(times=tuple(float(f"{t:.{_DIGITS}g}") for t in times.tolist()), rows=tuple(rows))


def _divided(times: Float[Tensor, " times"], parts: int) -> Float[Tensor, " more"]:
    """Each step made of so many equal ones."""
    along = torch.arange(parts, dtype=times.dtype) / parts
    return torch.cat(((times[:-1, None] + times.diff()[:, None] * along).flatten(), times[-1:]))


def _refusals(generator: RowGenerator, sampling: Sampling, rows: int) -> Iterator[str]:
    for spec in generator.denoiser.specs:
        path = generator.denoiser.path(spec.name)
        if not spec.given and (not isinstance(path, GaussianPath) or path.partner()):
            yield f"stream '{spec.name}' goes along the path '{path.kind}': steps are fitted on Gaussian paths that begin in noise"
    own = sorted(name for name, each in generator.sampling.streams.items() if each.schedule is not None)
    if own:
        yield f"the streams {own} have schedules of their own in `sample.streams`: a fit is for one schedule of all of them"
    if sampling.steps < 2:
        yield f"{sampling.steps} step has nothing to be fitted to but what it predicts: fit 2 steps or more"
    if not rows:
        yield "a fit needs 2 samples or more: half of them to fit, half to judge what was found"
    if sampling.corrections:
        yield "corrections change where rows go between steps: fit without them"
