"""How many network calls a request makes is known before: the plan's number is the receipts'."""

from typing import Any

import pytest
import torch
from toys import Toy, Waves, toy_recipe

from anylatent.best_of import BestOf
from anylatent.build import build_denoiser, build_tokenizer
from anylatent.components import core_components
from anylatent.conditioners.base import Conditions
from anylatent.conditioners.standard import ClassConfig
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.energies import Roughness
from anylatent.generation import RowGenerator, gathered, promised
from anylatent.guidance.autoguidance import Autoguidance
from anylatent.guidance.base import Guidance
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.guidance.compose import Compose, Entry
from anylatent.guidance.per_condition import ConditionScale, PerCondition
from anylatent.guidance.perturbed import Perturbed
from anylatent.guidance.plus_plus import PlusPlus
from anylatent.guidance.reflection import Reflection
from anylatent.guidance.regions import Region, Regions, Span
from anylatent.guidance.self_attention import SelfAttention
from anylatent.guidance.sum import Sum
from anylatent.guidance.timed import Annealing
from anylatent.guidance.windows import Window, Windows
from anylatent.node import Components
from anylatent.paths.rectified import Rectified
from anylatent.plan import make_plan
from anylatent.recipe.model import Recipe
from anylatent.sampling import Sampling, StreamSampling
from anylatent.schedules import ByLength, Pyramid, Resample, Restart, Rise, Schedule, Uniform
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.dpm import DPMSolver
from anylatent.solvers.heun import Heun
from anylatent.solvers.invertible import EDICT
from anylatent.solvers.langevin import Langevin
from anylatent.solvers.runge_kutta import RungeKutta
from anylatent.solvers.unipc import UniPC
from anylatent.solvers.value_search import ValueSearch
from anylatent.state import State, Stream
from anylatent.testing.backbones import shaken, two_stream_specs
from anylatent.testing.guidance import GuidedTransformer

PARTS = (Entry(ask={"component": 0}), Entry(ask={"component": 1}))
FREE = ClassifierFree(scale=2)
THERE = Region(where=(Span(axis="i", start=2.0),), ask={"component": 2})


@pytest.fixture(scope="module")
def denoiser() -> GuidedTransformer:
    return GuidedTransformer()


def both(denoiser: Denoiser, sampling: Sampling, state: State, others: dict[str, Denoiser] | None = None) -> tuple[list[int], list[int]]:
    """What is promised to each row, and what its receipt says."""
    asked: list[dict[str, Any]] = [dict.fromkeys(denoiser.conditions.named, 1)] * len(state)
    finished = list(RowGenerator(denoiser, sampling, False, others).stream(state, asked))
    spent = gathered(finished, state).spent["engine"]["network_calls"]
    promise = promised(denoiser, sampling, state)
    assert promise is not None
    return promise, [int(calls) for calls in spent]


GUIDANCES: list[tuple[Guidance, list[int]]] = [
    (FREE, [8, 8]),
    (ClassifierFree(scale=2, interval=(0.3, 0.8)), [6, 6]),
    (ClassifierFree(scale=1), [4, 4]),
    (PlusPlus(), [8, 8]),
    (Autoguidance(model="weak", interval=(0.3, 1.0)), [7, 7]),
    (Perturbed(), [8, 8]),
    (SelfAttention(), [8, 8]),
    (PerCondition(scales=(ConditionScale(condition="component", scale=2), ConditionScale(condition="part", scale=3))), [12, 12]),
    (Compose(entries=PARTS), [12, 12]),
    (Compose(entries=PARTS, rule="mean", inner=FREE), [12, 12]),
    (Regions(regions=(THERE,), inner=FREE), [12, 12]),
    (Windows(windows=(Window(axis="i", size=4.0, overlap=2.0),)), [4, 12]),
    (Reflection(inner=FREE), [14, 14]),
    (Sum(terms=(FREE, SelfAttention())), [12, 12]),
    (Sum(terms=(FREE, Perturbed(interval=(0.0, 0.6)), Regions(regions=(THERE,)))), [14, 14]),
]


MORE_GUIDANCES: list[tuple[Guidance, list[int]]] = [
    (ClassifierFree(scale=2, annealing=Annealing(shape="linear")), [7, 7]),
    (ClassifierFree(scale=2, against={"component": 2}), [8, 8]),
    (ClassifierFree(), [8, 8]),
    (SelfAttention(interval=(0.0, 0.6)), [6, 6]),
    (PerCondition(scales=(ConditionScale(condition="component", scale=1), ConditionScale(condition="part", scale=3))), [8, 8]),
    (Compose(entries=PARTS, rule="mean"), [8, 8]),
    (Compose(entries=(*PARTS, Entry(model="weak")), rule="mean"), [12, 12]),
    (Regions(regions=(THERE,)), [8, 8]),
    (Reflection(weak=Compose(entries=(Entry(model="weak"),)), share=1.0, repeats=2), [20, 20]),
    (Windows(windows=(Window(axis="i", size=4.0),), inner=FREE), [8, 16]),
]


@pytest.mark.parametrize(
    ("guidance", "calls"),
    [*GUIDANCES, *(pytest.param(*each, marks=pytest.mark.slow) for each in MORE_GUIDANCES)],
    ids=lambda value: value.kind if isinstance(value, Guidance) else "",
)
def test_guidance_makes_the_promised_calls(denoiser: GuidedTransformer, guidance: Guidance, calls: list[int]) -> None:
    """Rows of 4 and 8 tokens: a number each, with intervals, and by size where there are windows."""
    others: dict[str, Denoiser] = {"weak": GuidedTransformer(1)} if guidance.denoisers() else {}
    promise, made = both(denoiser, Sampling(steps=4, guidance=guidance, solver=DDIM()), denoiser.layout([0, 4]), others)
    assert promise == made == calls


WAYS: list[tuple[Schedule, Solver, list[int]]] = [
    (Uniform(), Heun(), [7, 7]),
    (Uniform(), DPMSolver(order=3), [8, 8]),
    (Uniform(), Langevin(steps=2), [10, 10]),
    (Uniform(), ValueSearch(solver=Ancestral(), energy=Roughness(), candidates=3), [13, 13]),
    (Restart(intervals=(Rise(low=0.25, high=0.75, repeats=2),)), Heun(), [15, 15]),
    (Pyramid(block=2.0, lag=1), DDIM(), [5, 7]),
    (Pyramid(block=2.0, lag=2), Heun(), [11, 19]),
]


MORE_WAYS: list[tuple[Schedule, Solver, list[int]]] = [
    (Uniform(), RungeKutta(), [13, 13]),
    (Uniform(), UniPC(), [4, 4]),
    (Uniform(), EDICT(), [8, 8]),
    (Resample(jump=1, repeats=3), Ancestral(), [10, 10]),
    (ByLength(tokens=2), Heun(), [7, 7]),
    (Pyramid(block=2.0, lag=9), DDIM(), [8, 16]),
]


@pytest.mark.parametrize(
    ("schedule", "solver", "calls"),
    [*WAYS, *(pytest.param(*each, marks=pytest.mark.slow) for each in MORE_WAYS)],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_schedules_and_solvers_make_the_promised_calls(
    denoiser: GuidedTransformer, schedule: Schedule, solver: Solver, calls: list[int]
) -> None:
    """Steps that rise or rest ask nothing, last ones less; blocks that lag behind take longer in longer rows."""
    state = denoiser.layout([0, 4])
    sampling = Sampling(steps=4, schedule=schedule, solver=solver)
    promise, made = both(denoiser, sampling, state)
    assert promise == made == calls


def test_all_at_once_make_the_promised_calls(denoiser: GuidedTransformer) -> None:
    """Of two candidates of a guided row in blocks that lag behind, each step of which asks twice but the last."""
    best = BestOf(count=2, energy=Roughness())
    sampling = Sampling(steps=4, schedule=Pyramid(block=2.0, lag=2), solver=Heun(), guidance=FREE, best_of=best)
    promise, made = both(denoiser, sampling, denoiser.layout([0, 4]))
    assert promise == made == [4 * 11, 4 * 19]


def test_streams_with_solvers_of_their_own_share_calls() -> None:
    """A step asks as often as the stream that asks most; a stream that is done sooner rests."""
    torch.manual_seed(0)
    specs = two_stream_specs()
    corruptions = {spec.name: Corruption(Rectified(), "velocity") for spec in specs}
    denoiser = Denoiser(
        DiTConfig(depth=1, width=16, heads=2).build(specs, False), Conditions(16, {"x": ClassConfig().build(16, [0, 1])}), corruptions
    )
    shaken(denoiser, size=0.05)
    denoiser.eval().requires_grad_(False)
    positions = torch.stack((torch.arange(4) * 0.1, torch.arange(4.0)), -1).expand(2, -1, -1)
    state = State.of({"field": Stream.of(torch.zeros(2, 4, 5), positions), "cloud": Stream.of(torch.zeros(2, 2, 2))}, [0, 1])
    own = {"cloud": StreamSampling(solver=Heun(), schedule=Restart(intervals=(Rise(low=0.5, high=0.75),)))}
    promise, made = both(denoiser, Sampling(steps=4, solver=RungeKutta(), streams=own, guidance=FREE), state)
    # The field asks 4, 4, 4, 1 times and rests twice; the cloud asks 2, 2, goes up, and asks 2, 2, 1.
    assert promise == made == [2 * (4 + 4 + 4 + 2 + 2 + 1)] * 2


def test_what_depends_on_answers_is_not_promised(denoiser: GuidedTransformer) -> None:
    from anylatent.solvers.adaptive import Adaptive

    assert promised(denoiser, Sampling(solver=Adaptive()), denoiser.layout([0])) is None


def test_a_plan_promises_the_calls_of_its_smallest_and_largest_rows() -> None:
    components = Components([*core_components(), Toy, Waves])
    sample = {"steps": 4, "schedule": {"kind": "pyramid", "lag": 2}, "guidance": {"kind": "classifier-free", "scale": 2.0}}
    data = {"kind": "toy", "data": {"kind": "toy.waves", "ragged": True}}
    recipe = Recipe.model_validate(toy_recipe(modality=data, sample=sample), context={"components": components})
    plan = make_plan(recipe)
    assert not plan.problems, plan.problems
    said = dict(plan.facts)["sampling"].partition(": ")[2]
    train = recipe.modality.data.build("train")
    samples = sorted((train[i].sample for i in range(len(train))), key=len)[:: len(train) - 1]
    tokenizer = build_tokenizer(recipe, samples[0])
    denoiser = build_denoiser(recipe, tokenizer.specs, {"label": [0, 1, 2]}).eval().requires_grad_(False)
    _, made = both(denoiser, recipe.sample, State.of(tokenizer.encode(samples).streams, range(len(samples))))
    assert said == f"{min(made)} to {max(made)} network calls each, by their size"
    assert min(made) < max(made)
