"""Old recipes stay readable: each version has a golden file that later versions must still read."""

from pathlib import Path

import pytest

from anylatent import plugins, recipe
from anylatent.plugins import Plugins, load_file
from anylatent.recipe import VERSION, RecipeError
from anylatent.recipe.document import of_mapping
from anylatent.recipe.migrations import MIGRATIONS, migrate
from anylatent.recipe.reading import read_file

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(plugins, "_files", {})
    load_file(Path(__file__).parent / "toy_plugin.py")
    return Plugins.discover()


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_the_golden_recipe_of_each_version_is_read_and_keeps_what_it_says(version, toy):
    written = read_file(GOLDEN / f"recipe-v{version}.yaml").data
    assert written["anylatent"] == version
    loaded = recipe.load(GOLDEN / f"recipe-v{version}.yaml", plugins=toy)
    assert loaded.anylatent == VERSION
    kept = recipe.load(recipe.dump(loaded), plugins=toy)
    assert kept == loaded
    assert (kept.train.steps, kept.train.ema, kept.sample.guidance.scale) == (1234, (0.5, 0.75), 3.5)
    assert [metric.kind for metric in kept.evaluate] == ["distinct", "frechet"]


def test_there_is_a_migration_from_every_older_version():
    assert sorted(MIGRATIONS) == list(range(1, VERSION))


def test_migrations_follow_each_other_and_say_the_new_version():
    steps = {
        1: lambda data: {("denoiser" if key == "backbone" else key): value for key, value in data.items()},
        2: lambda data: data | {"train": {"steps": data["train"]["epochs"] * 10}},
    }
    document = of_mapping({"anylatent": 1, "backbone": {"kind": "dit"}, "train": {"epochs": 3}})
    migrate(document, steps, current=3)
    assert document.data == {"anylatent": 3, "denoiser": {"kind": "dit"}, "train": {"steps": 30}}
    untouched = of_mapping({"train": {"epochs": 3}})
    migrate(untouched, steps, current=3)
    assert untouched.data == {"train": {"epochs": 3}}, "without a version it is the current one"


def test_a_newer_version_is_refused_before_the_rest_is_judged():
    with pytest.raises(
        RecipeError, match=r"^1 mistake:\n  the recipe:1:12: anylatent: this recipe is of version 2, this anylatent reads up to 1: upgrade"
    ) as caught:
        recipe.load("anylatent: 2\nwhatever: 3\n")
    assert "whatever" not in str(caught.value)


@pytest.mark.parametrize("version", ["0", "-1", "true", "1.5", "'1'", "one", "[1]"])
def test_a_version_that_is_none_is_told(version):
    with pytest.raises(RecipeError, match="the recipe:1:12: anylatent: expected a version of the recipe language, 1 to 1; given"):
        recipe.load(f"anylatent: {version}\nseed: 1\n", plugins=Plugins())
