"""Schedules that are searched for a denoiser: what is found, how it is judged, and what has no such schedule."""

from typing import Any

import pytest
import torch
from small_generators import mixture, network

from anylatent.generation import RowGenerator
from anylatent.paths.edm import EDM
from anylatent.paths.vocabulary import Masked
from anylatent.sampling import StreamSampling
from anylatent.schedule_search import FoundSchedule, search_schedule
from anylatent.schedules import ByLength, Restart, Rho, Table, Uniform
from anylatent.solvers.adaptive import Adaptive
from anylatent.solvers.ddim import Ancestral
from anylatent.solvers.discrete import AncestralDiscrete
from anylatent.spec import StreamSpec
from anylatent.state import State
from anylatent.testing.backbones import random_state, two_stream_specs
from anylatent.training.events import Event, Stage, Step

FIELD, CLOUD = two_stream_specs()


def searched(generator: RowGenerator, sizes: list[int] | None = None, **options: Any) -> FoundSchedule:
    state = random_state(generator.denoiser.specs, sizes or [3, 5, 2, 4])
    return search_schedule(generator, state, [{}] * len(state), **options)


def test_few_steps_come_nearer_to_many_on_rows_that_were_not_searched() -> None:
    oracle, generator = mixture()
    events: list[Event] = []
    found = search_schedule(generator, oracle.layout(range(96)), [{}] * 96, 2, watch=events.append)
    assert found.after < 0.9 * found.before
    assert 0 < found.low < found.less < found.high < 1
    assert found.less == pytest.approx(1 - found.after / found.before)
    assert (found.steps, found.reference_steps, found.rows) == (5, 50, 48)
    assert found.schedule.knots[0] == 1
    assert len(found.schedule.knots) == 5

    tries = 2 * 2 * 4 + 1
    assert found.network_calls == oracle.calls == 96 * 50 + tries * 48 * 5 + 2 * 48 * 5
    stages = [event for event in events if isinstance(event, Stage)]
    assert [(stage.name, stage.total) for stage in stages] == [("reference", 96), ("search", tries), ("check", 1)]
    steps = [event for event in events if isinstance(event, Step)]
    assert [sum(step.stage == stage.name for step in steps) for stage in stages] == [96, tries, 1]


def test_what_is_said_of_it_is_true_of_the_schedule_that_is_printed() -> None:
    """Errors once more, row by row and stream by stream, of rows of different sizes with a token that is given."""
    generator, sizes = network(), [3, 5, 2, 4, 4, 3]
    state = random_state(generator.denoiser.specs, sizes)
    keep = torch.zeros(6, 5, dtype=torch.bool)
    keep[4, 1] = True
    state = state.with_kept("field", keep)
    found = search_schedule(generator, state, [{}] * 6, rounds=1, reference_steps=12)
    pasted = Table(knots=tuple(float(f"{knot:.4g}") for knot in found.schedule.knots), unit="time")

    def made(**changes: Any) -> State:
        return generator(state, [{}] * 6, sampling=generator.sampling.model_copy(update=changes))

    many = made(steps=12)
    for said, few in ((found.before, made()), (found.after, made(schedule=pasted))):
        errors = []
        for row in (3, 4, 5):
            parts = []
            for name in ("field", "cloud"):
                free = [[i for i in range(size) if not (name == "field" and (r, i) == (4, 1))] for r, size in enumerate(sizes)]
                everyone = torch.cat([many[name].values[r, i] for r, i in enumerate(free)])
                apart = few[name].values[row, free[row]] - many[name].values[row, free[row]]
                parts.append(float((apart.square().mean() / everyone.var(0, unbiased=False).mean()).sqrt()))
            errors.append(sum(parts) / 2)
        assert said == pytest.approx(sum(errors) / 3, rel=1e-4)


def test_streams_with_a_schedule_of_their_own_keep_it() -> None:
    own = {"cloud": StreamSampling(schedule=Uniform())}
    started = searched(network(schedule=Rho(), streams=own, paths={"cloud": EDM()}, steps=2), rounds=1, reference_steps=3)
    assert started.schedule.knots[0] == pytest.approx(80 / 81, abs=1e-4), "of the field's path, which the search is for"


def test_an_observation_is_no_sample() -> None:
    """A stream that is always given has no error, nor a path that must suit."""
    given = CLOUD.model_copy(update={"given": True})
    alone = searched(network((FIELD, given), paths={"cloud": EDM()}, schedule=Rho(), steps=2), rounds=1, reference_steps=3)
    assert alone.before > 0


MASKS = StreamSpec(name="letters", kind="categorical", width=6, order="sequence", prior="mask")


REFUSED = {
    "new noise": ({"solver": Ancestral()}, {}, r"solver 'ancestral' adds new noise: .* search with one that adds none \(--solver dpm"),
    "own steps": ({"solver": Adaptive()}, {}, "solver 'adaptive' chooses its own steps: there is little for a schedule to do; take dpm"),
    "vocabulary": (
        {"specs": (MASKS,), "paths": {"letters": Masked()}, "solver": AncestralDiscrete()}, {},
        "stream 'letters' goes along the path 'masked', which draws tokens at random: .* a schedule is searched on Gaussian paths",
    ),
    "one step": ({"steps": 1}, {}, "1 step goes from the start to the end: there is no time between to move; search for 2 steps or more"),
    "no reference": ({}, {"reference_steps": 3}, "3 steps are to be the reference for 3: take several times as many"),
    "one sample": ({}, {"sizes": [3]}, "a search needs 2 samples or more: half of them to search on, half to judge what was found"),
    "rises": ({"schedule": Restart()}, {}, r"schedule 'restart' rises, or has times .* begin from such a one \(--schedule uniform\)"),
    "by row": ({"schedule": ByLength()}, {}, "schedule 'by-length' rises, or has times of their own for rows or tokens"),
    "two paths": (
        {"schedule": Rho(), "paths": {"cloud": EDM()}}, {},
        r"schedule 'edm' has other times for each of the streams' paths: begin from one .* \(--schedule uniform\)",
    ),
    "own schedules": (
        {"streams": {name: StreamSampling(schedule=Uniform()) for name in ("field", "cloud")}}, {},
        "each stream has a schedule of its own in `sample.streams`: there is no common one to search",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("generator", "options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_schedule_to_find_is_refused(generator: dict[str, Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        searched(network(**generator), **options)
