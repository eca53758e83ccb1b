"""A quality metric against network calls for the main solvers, on a trained run; the shipped default is marked.

python -m benchmarks.solvers RUN [COUNT] [METRIC]

RUN's own guidance, conditions and schedule. METRIC: the kind of one of the recipe's metrics (frechet). A setting of c calls has
as many steps as its solver can make with c predictions at most, guidance's not counted. Rows are the same at every setting:
seeds 0 to COUNT, so that differences between settings are surer than the intervals look.
"""

import sys
from collections.abc import Iterator
from time import perf_counter

import torch

import anylatent
from anylatent.sampling import Sampling
from anylatent.schedules import Rho, Schedule, Uniform
from anylatent.solvers.adams import AdamsBashforth
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import Ancestral
from anylatent.solvers.dpm import DPMSolver
from anylatent.solvers.dpmpp import DPMpp2M, DPMpp3M
from anylatent.solvers.euler import Euler
from anylatent.solvers.exponential import DEIS, ERSDE, SDEDPMpp
from anylatent.solvers.heun import Heun
from anylatent.solvers.invertible import BDIA, EDICT
from anylatent.solvers.runge_kutta import RungeKutta
from anylatent.solvers.unipc import UniPC

CALLS = (5, 10, 20, 50)
SOLVERS: tuple[Solver, ...] = (
    Euler(), DPMpp2M(), DPMpp3M(), UniPC(points=2), UniPC(points=3), DEIS(order=2), DEIS(order=3), AdamsBashforth(order=2),
    AdamsBashforth(order=3), DPMSolver(order=2, parameter="data"), Heun(), RungeKutta(tableau="midpoint"), RungeKutta(tableau="rk4"),
    Ancestral(), SDEDPMpp(order=2), ERSDE(), BDIA(), BDIA(gamma=1), EDICT(),
)  # fmt: skip


def settings(schedule: Schedule) -> Iterator[tuple[Solver, Schedule]]:
    """Every solver with the run's schedule; the two most used ones with others."""
    for solver in SOLVERS:
        yield solver, schedule
    for other in (Uniform(), Uniform(shift=2), Rho(rho=3, ratio_min=0.02, ratio_max=40)):
        if other != schedule:
            yield DPMpp2M(), other
            yield UniPC(points=2), other


def main(folder: str, count: int, metric: str) -> None:
    """A line a solver; a column a number of calls: the metric and its 95 % interval."""
    torch.set_num_threads(1)
    run = anylatent.load(folder)
    judge = next(each for each in run.recipe.evaluate if each.kind == metric)
    shipped = Sampling.model_fields["solver"].default
    print(f"{metric} of {count} samples of {folder}; * the default of `sample`")
    print(f"{'network calls':<54}" + "".join(f"{calls:>24}" for calls in CALLS))
    for solver, schedule in settings(run.recipe.sample.schedule):
        cells, began = [], perf_counter()
        for calls in CALLS:
            if calls < solver.calls:
                cells.append("-")
                continue
            last = solver.calls if solver.invertible else 1  # the step to t = 0 asks once
            steps = (calls - last) // solver.calls + 1
            made = run.sample(count, seed=0, steps=steps, solver=solver, schedule=schedule)
            measure = run.evaluate(made, [judge])[0]
            cells.append(f"{measure.value:.2f} ({measure.low:.2f}-{measure.high:.2f})")
        mark = "*" if solver == shipped else " "
        print(f"{mark} {_name(solver)}, {_name(schedule)}".ljust(54) + "".join(f"{cell:>24}" for cell in cells), flush=True)
        print(f"  ({perf_counter() - began:.0f} s)", file=sys.stderr)


def _name(node: Solver | Schedule) -> str:
    changed = {name: value for name, value in node if value != type(node).model_fields[name].default}
    return " ".join([node.kind, *(f"{name}={value}" for name, value in changed.items())])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 500, sys.argv[3] if len(sys.argv) > 3 else "frechet")
