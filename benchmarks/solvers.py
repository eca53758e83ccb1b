"""Quality against network calls for the main solvers, on a trained run: tables in Markdown, for benchmarks/solvers.md.

python -m benchmarks.solvers RUN MEASURE... [--count N] [--metric KIND|{...}] [--schedules]

MEASURE is the name of a measure (frechet), of the recipe's metrics or of --metric; each gets a table. RUN's own guidance, conditions
and schedule. A column of c calls has as many steps as a solver can make with c predictions at most, those of guidance not counted. Rows
are the same at every setting (seeds 0 to N), so that differences between settings are surer than the intervals look. Bold: the best of
a column.
"""

import argparse
import sys
from collections.abc import Iterator
from time import perf_counter

import torch

import anylatent
from anylatent.cli.requests import metrics as parsed
from anylatent.metrics.base import Measure, Metric
from anylatent.run import Run
from anylatent.sampling import Sampling
from anylatent.schedules import Rho, Schedule, Uniform
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import Ancestral
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.euler import Euler
from anylatent.solvers.exponential import SDEDPMpp
from anylatent.solvers.heun import Heun
from anylatent.solvers.unipc import UniPC

CALLS = (5, 10, 20, 50)
SOLVERS: tuple[Solver, ...] = (Euler(), Heun(), DPMpp2M(), UniPC(points=2), UniPC(points=3), Ancestral(), SDEDPMpp(order=2))
OTHERS: tuple[Schedule, ...] = (Uniform(), Uniform(shift=2), Rho(rho=3, ratio_min=0.02, ratio_max=40))


def settings(schedule: Schedule, others: bool) -> Iterator[tuple[Solver, Schedule]]:
    """Every solver with the run's schedule; if `others`, the two most used ones with other schedules instead."""
    if not others:
        yield from ((solver, schedule) for solver in SOLVERS)
    for other in OTHERS if others else ():
        yield DPMpp2M(), other
        yield UniPC(points=2), other


def measured(run: Run, count: int, calls: int, solver: Solver, schedule: Schedule, judges: list[Metric]) -> dict[str, Measure]:
    """What so many samples at so many calls are worth, by name; nothing, if a step of the solver takes more."""
    if calls < solver.calls:
        return {}
    steps = (calls - 1) // solver.calls + 1  # the step to t = 0 asks once
    made = run.sample(count, seed=0, steps=steps, solver=solver, schedule=schedule)
    return {measure.name: measure for measure in run.evaluate(made, judges)}


def main(folder: str, names: list[str], count: int, judges: list[Metric], others: bool) -> None:
    """A table a measure: a row a solver, a column a number of calls, in it the measure and its 95 % interval."""
    torch.set_num_threads(1)
    run = anylatent.load(folder)
    judges = judges or list(run.recipe.evaluate)
    shipped = Sampling.model_fields["solver"].default
    rows: list[tuple[str, list[dict[str, Measure]]]] = []
    for solver, schedule in settings(run.recipe.sample.schedule, others):
        began = perf_counter()
        row = [measured(run, count, calls, solver, schedule, judges) for calls in CALLS]
        missing = sorted(set(names) - {name for cell in row for name in cell})
        if missing:
            raise SystemExit(f"no measure is called {missing}: there are {', '.join(row[-1])}")
        title = f"`{_name(solver)}`" + (f", {_name(schedule)}" if others else "") + (" (default)" if solver == shipped else "")
        rows.append((title, row))
        shown = "; ".join(f"{name} " + " ".join(f"{cell[name].value:.4g}" if cell else "-" for cell in row) for name in names)
        print(f"{title}: {shown}  ({perf_counter() - began:.0f} s)", file=sys.stderr, flush=True)
    for name in names:
        _table(name, [(title, [cell.get(name) for cell in row]) for title, row in rows], _name(run.recipe.sample.schedule))


def _table(name: str, rows: list[tuple[str, list[Measure | None]]], schedule: str) -> None:
    first = next(each for each in rows[0][1] if each is not None)
    print(f"{name} ({first.better} is better), n = {first.n}, {schedule} schedule\n")
    print("| network calls | " + " | ".join(map(str, CALLS)) + " |\n" + "|---" * (len(CALLS) + 1) + "|")
    best = [_best([row[k] for _, row in rows]) for k in range(len(CALLS))]
    for title, row in rows:
        cells = [_cell(each, each is not None and each.value == top) for each, top in zip(row, best, strict=True)]
        print(f"| {title} | " + " | ".join(cells) + " |")
    print()


def _best(column: list[Measure | None]) -> float | None:
    there = [each for each in column if each is not None]
    values = [each.value for each in there]
    return (min if there[0].better == "lower" else max)(values) if values else None


def _cell(measure: Measure | None, bold: bool) -> str:
    if measure is None:
        return "–"
    value = f"**{measure.value:.3g}**" if bold else f"{measure.value:.3g}"
    return f"{value} ({measure.low:.3g} to {measure.high:.3g})"


def _name(node: Solver | Schedule) -> str:
    changed = {name: value for name, value in node if value != type(node).model_fields[name].default}
    return " ".join([node.kind, *(f"{name}={value}" for name, value in changed.items())])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("measure", nargs="+")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--metric", action="append", default=[])
    parser.add_argument("--schedules", action="store_true")
    given = parser.parse_args()
    main(given.run, given.measure, given.count, parsed(given.metric), given.schedules)
