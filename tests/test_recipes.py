"""Every recipe of the repository: valid, written back whole, planned, run, sampled, resumed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_runs import losses, outcome

import anylatent
from anylatent import Run, execute, load_recipe
from anylatent.plan import Plan, make_plan
from anylatent.recipe import dump
from anylatent.recipe.model import Recipe
from anylatent.testing import difference
from anylatent.training.events import Saved, Step

ROOT = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(ROOT.rglob("*.yaml"))
SMOKE = [path for path in RECIPES if path.stem == "smoke"]
NAMES = {path: path.relative_to(ROOT).with_suffix("").as_posix() for path in RECIPES}


@pytest.fixture(scope="module", autouse=True)
def _one_kernel() -> Iterator[None]:
    from anylatent.nn import kernels

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYLATENT_KERNELS", "torch")  # what is measured is not always chosen alike
        kernels.linear_kernel.cache_clear()
        yield
    kernels.linear_kernel.cache_clear()


def planned(recipe: Recipe) -> Plan:
    """Its plan; the test is skipped if its data would have to be fetched."""
    plan = make_plan(recipe)
    if any("anylatent data fetch" in problem for problem in plan.problems):
        pytest.skip(plan.problems[0])
    return plan


def test_each_modality_has_its_three_recipes() -> None:
    """To check, to see, and to measure."""
    for folder in ROOT.iterdir():
        assert {"smoke", "quickstart", "benchmark"} <= {path.stem for path in folder.glob("*.yaml")}, folder.name


@pytest.mark.parametrize("path", RECIPES, ids=NAMES.get)
def test_it_is_valid_and_written_back_whole(path: Path) -> None:
    recipe = load_recipe(path)
    text = dump(recipe)
    assert load_recipe(text) == recipe
    assert dump(load_recipe(text)) == text
    assert recipe.name == path.stem


OFTEN = {"image/quickstart", "joint/quickstart"}
"""What runs a few steps in every run of the tests, beside the smoke recipe of each modality."""
LONG = {"points/benchmark", "points/extent", "robot/benchmark"}
"""Whose data take half a minute to make (those of `extent` are made like the quickstart's)."""


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[pytest.mark.slow] if NAMES[path] in LONG else [], id=NAMES[path]) for path in RECIPES]
)
def test_its_plan_has_no_problems(path: Path) -> None:
    plan = planned(load_recipe(path))
    assert plan.problems == []
    assert {"tokens a sample", "denoiser", "training", "memory", "sampling"} <= {name for name, _ in plan.facts}


def run_whole(recipe: Recipe, folder: Path) -> Run:
    """Everything that it says; then opened again and asked for samples."""
    events = list(execute(Run.create(recipe, folder)))
    assert isinstance(events[-1], Saved)
    assert events[-1].path.stat().st_size > 10_000
    loaded = anylatent.load(folder)
    made = loaded.sample(2, seed=recipe.sample.seed + 1)
    alone = loaded.sample(1, seed=recipe.sample.seed + 2)
    assert alone.asked[0] == made.asked[1]
    for name, stream in alone.state.streams.items():
        tokens = stream.shape[1]
        assert torch.equal(stream.mask[0], made.state[name].mask[1, :tokens])
        torch.testing.assert_close(stream.values[0], made.state[name].values[1, :tokens], atol=1e-4, rtol=0)
    return loaded


@pytest.mark.parametrize("path", SMOKE, ids=NAMES.get)
def test_a_smoke_recipe_runs_samples_and_resumes(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    planned(recipe)
    whole = run_whole(recipe, tmp_path / "whole")
    steps = recipe.train.steps
    for stage, done in (("tokenizer", 4), ("denoiser", steps // 2 + 2)):
        generator = execute(Run.create(recipe, tmp_path / "resumed"))
        for event in generator:
            if isinstance(event, Step) and (event.stage, event.done) == (stage, done):
                generator.close()  # pyright: ignore[reportAttributeAccessIssue]
    resumed = Run.open(tmp_path / "resumed")
    for _ in resumed.train():
        pass
    assert losses(resumed.folder) == losses(whole.folder)
    made, expected = outcome(resumed.folder), outcome(whole.folder)
    weights = {name for name in expected if name.endswith(".safetensors")}
    assert {name for name in weights if made[name] != expected[name]} == set()
    assert not difference(resumed.sample(2, seed=5).samples, whole.sample(2, seed=5).samples)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if NAMES[path] in OFTEN else pytest.mark.slow, id=NAMES[path]) for path in RECIPES if path not in SMOKE],
)
def test_every_other_recipe_runs_a_few_steps(path: Path, tmp_path: Path) -> None:
    few = ["train.steps=3", "train.batch=4", "train.checkpoint=2", "train.preview=2", "sample.count=4", "sample.steps=2", "evaluate=[]"]
    recipe = load_recipe(path, overrides=few)
    if "train" in type(recipe.tokenizer).model_fields:
        recipe = load_recipe(path, overrides=[*few, "tokenizer.train.steps=3", "tokenizer.train.batch=4"])
    planned(recipe)
    run_whole(recipe, tmp_path / "run")
