"""Solvers whose numbers are fitted to many steps (OLSS): what is found, how it is judged, and what cannot be fitted."""

from itertools import pairwise
from typing import Any

import numpy
import pytest
import torch
from pydantic import ValidationError
from small_generators import mixture, network

from anylatent.corrections.clip import Clip
from anylatent.denoiser import Corruption
from anylatent.engine import Request, sample
from anylatent.guidance.reflection import Reflection
from anylatent.paths.bridge import Bridge
from anylatent.paths.rectified import Rectified
from anylatent.sampling import Sampling, StreamSampling
from anylatent.schedules import ByLength, Pyramid, Rho, Schedule, Table, Uniform
from anylatent.solver_fit import FoundSolver, fit_solver
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.fitted import Fitted
from anylatent.solvers.heun import Heun
from anylatent.spec import StreamSpec
from anylatent.testing.backbones import random_state, two_stream_specs
from anylatent.testing.solvers import walk
from anylatent.types import Tensor

FIELD, CLOUD = two_stream_specs()
ROWS = 96


@pytest.fixture(scope="module")
def found() -> FoundSolver:
    oracle, generator = mixture(steps=4)
    return fit_solver(generator, oracle.layout(range(ROWS)), [{}] * ROWS)


def test_it_comes_nearer_to_many_steps_than_others_on_rows_that_it_was_not_fitted_to(found: FoundSolver) -> None:
    assert found.low > 0.2
    assert found.after == pytest.approx((1 - found.less) * found.before)
    assert found.rows == ROWS // 2
    assert found.reference_steps >= 40
    oracle, _ = mixture()
    rows = oracle.layout(range(500, 564))
    x = rows.noise("tokens", -1, 0).double()
    exact = walk(Heun(), oracle, x, Uniform().times(200, Rectified()))
    request = Request(rows, oracle.conditions([{}] * 64), Sampling(steps=4, solver=found.solvers["tokens"], schedule=found.schedule))
    fitted = (sample(oracle, request)[0]["tokens"].values - exact).square().mean()
    ddim = (walk(DDIM(), oracle, x, found.schedule.times(4, Rectified())) - exact).square().mean()
    assert fitted < 0.5 * ddim


def test_its_numbers_are_those_of_an_independent_least_squares(found: FoundSolver) -> None:
    """The steps made one by one, with numpy, from the same priors to the same reference."""
    oracle, _ = mixture()
    layout = oracle.layout(range(ROWS // 2))
    x = layout.noise("tokens", -1, 0).double()
    times = torch.tensor([*found.schedule.knots, 0.0], dtype=torch.float64)
    parts = found.reference_steps // 4
    fine = torch.cat([*(torch.linspace(a, b, parts + 1, dtype=torch.float64)[:-1] for a, b in pairwise(times)), times[-1:]])
    way = [walk(DPMpp2M(), oracle, x, fine[: k * parts + 1]) for k in range(1, 5)]
    everything = torch.ones(len(x), 3)
    heard: list[Tensor] = []
    for k, row in enumerate(found.solvers["tokens"].rows):
        heard.insert(0, oracle.posterior_mean(x, times[k].expand(len(x), 1, 1), everything))
        columns = torch.stack([x, *heard]).flatten(1).T
        expected = numpy.linalg.lstsq(columns.numpy(), way[k].flatten().numpy(), rcond=None)[0]
        assert columns @ torch.tensor(row, dtype=torch.float64) == pytest.approx(columns @ torch.tensor(expected), abs=2e-4)
        x = torch.einsum("k,knij->nij", torch.tensor(row, dtype=torch.float64), torch.stack([x, *heard]))


def test_each_stream_has_its_own_numbers_and_a_given_one_none() -> None:
    given = StreamSpec(**(CLOUD.model_dump() | {"given": True}))
    for specs, names in (((FIELD, CLOUD), {"field", "cloud"}), ((FIELD, given), {"field"})):
        generator = network(specs)
        state = random_state(generator.denoiser.specs, [3, 5, 2, 4])
        found = fit_solver(generator, state, [{}] * 4, 6)
        assert set(found.solvers) == names
        assert all([len(row) for row in solver.rows] == [2, 3, 4] for solver in found.solvers.values())


@pytest.mark.parametrize("schedule", [Rho(), Table(knots=(0.9, 0.5, 0.2), unit="time")], ids=lambda schedule: schedule.kind)
def test_times_may_begin_below_the_paths_start(schedule: Schedule) -> None:
    """What is found is taken by a request of the schedule that it was found with, and of the one that is printed."""
    generator = network((FIELD,), schedule=schedule)
    found = fit_solver(generator, random_state((FIELD,), [3, 5, 2, 4]), [{}] * 4, 6)
    assert found.solvers["field"].times[0] == pytest.approx(float(schedule.times(3, Rectified())[0]), abs=1e-5)
    assert found.solvers["field"].times[0] < 1
    for each in (schedule, found.schedule):
        assert Sampling(steps=3, solver=found.solvers["field"], schedule=each).refusals(generator.denoiser, null=False) == []


FITTED = Fitted(times=(1, 0.5, 0), rows=((0.5, 0.5), (0, 2, -1)))
OTHERS = "solver 'fitted' was fitted for other times: use it with `steps: 2` and `schedule: {kind: table, unit: time, knots: [1, 0.5]}`"


def test_without_a_fit_or_for_other_times_it_is_dpmpp() -> None:
    times = Uniform().times(6, Rectified())
    for solver in (Fitted(), FITTED):
        assert torch.equal(solver.table(Rectified(), times)[:, :3], DPMpp2M().table(Rectified(), times))
    own = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    assert FITTED.table(Rectified(), own).tolist() == [[0.5, 0.5, 0.0], [0.0, 2.0, -1.0]]


def test_other_times_are_refused() -> None:
    generator = network((FIELD, CLOUD))

    def refused(steps: int = 2, solver: Solver = FITTED, **more: Any) -> list[str]:
        return Sampling(steps=steps, solver=solver, **more).refusals(generator.denoiser, null=False)

    assert refused() == refused(6, Fitted(), schedule=ByLength()) == []
    assert refused(6) == refused(schedule=Uniform(shift=2)) == [OTHERS]
    assert refused(schedule=ByLength()) == refused(schedule=Pyramid(axis="x")) == [OTHERS], "rows and tokens that have times of their own"
    assert refused(schedule=Pyramid(lag=0)) == []
    assert refused(guidance=Reflection()) == [f"{OTHERS}; guidance 'reflection' makes other times of any schedule: leave it out"]
    one = "`steps: 1` and `schedule: {kind: table, unit: time, knots: [0.9, 0.45]}`"
    assert one in refused(solver=Fitted(times=(0.9, 0), rows=((0.5, 0.5),)))[0]
    taken = Table(knots=(0.9, 0.45), unit="time")
    assert refused(1, Fitted(times=(0.9, 0), rows=((0.5, 0.5),)), schedule=taken) == []


def test_where_a_prediction_begins_is_where_its_times_do() -> None:
    """A prediction of the noise says nothing at t = 1, so sampling begins later; a stream that is given goes nowhere."""
    given = CLOUD.model_copy(update={"given": True})
    denoiser = network((FIELD, given)).denoiser
    denoiser.corruptions["field"] = Corruption(Rectified(), "noise")
    start = Rectified().start("noise")
    assert start < 1
    request = Sampling(steps=2, solver=FITTED)
    assert request.refusals(denoiser, null=False) == [OTHERS]
    later = FITTED.model_copy(update={"times": (start, start / 2, 0.0)})
    assert request.model_copy(update={"solver": later}).refusals(denoiser, null=False) == []


@pytest.mark.parametrize(
    ("times", "rows", "text"),
    [
        ((1, 0.5, 0), ((1, 0),), "1 steps have 2 times, given 3"),
        ((1, 0.5), ((1, 0),), "fall to 0"),
        ((0.5, 1, 0), ((1, 0), (1, 0)), "fall to 0"),
        ((1, 0), ((1,),), r"step 1 of a fit has 2 to 2 numbers .*, given 1"),
        ((1, 0.5, 0), ((1, 0, 0), (1, 0)), r"step 1 of a fit has 2 to 2 numbers .*, given 3"),
    ],
)
def test_numbers_that_are_no_fit_are_refused(times: tuple[float, ...], rows: tuple[tuple[float, ...], ...], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        Fitted(times=times, rows=rows)


@pytest.mark.parametrize(
    ("generator", "rows", "text"),
    [
        (lambda: network((FIELD,), {"field": Bridge(source="field")}), 4, "steps are fitted on Gaussian paths that begin in noise"),
        (lambda: network(steps=1), 4, "1 step has nothing to be fitted to"),
        (lambda: network(), 1, "a fit needs 2 samples or more"),
        (
            lambda: network(streams={"field": StreamSampling(schedule=Uniform(shift=2))}),
            4,
            r"the streams \['field'\] have schedules of their own in `sample.streams`: a fit is for one schedule of all of them",
        ),
        (lambda: network(corrections=(Clip(),)), 4, "corrections change where rows go between steps: fit without them"),
    ],
)
def test_what_cannot_be_fitted_is_refused(generator: object, rows: int, text: str) -> None:
    made = generator()  # pyright: ignore[reportCallIssue]
    with pytest.raises(ValueError, match=text):
        fit_solver(made, random_state(made.denoiser.specs, [3] * rows), [{}] * rows)
