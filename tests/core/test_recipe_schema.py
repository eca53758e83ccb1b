"""The JSON Schema and our own judgement agree on what they can both say."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from anylatent import recipe
from anylatent.plugins import Plugins
from anylatent.recipe.reading import read_file, read_text

PLUGINS = Plugins.discover()
COMPONENTS = PLUGINS.usable()[0]
SCHEMA = recipe.schema(COMPONENTS)
VALIDATOR = Draft202012Validator(SCHEMA)
RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))

GOOD = "denoiser: {kind: dit}\ntokenizer: {kind: grid, patch: [2]}\nsample: {solver: {kind: heun}, streams: {a: {schedule: {kind: edm}}}}\n"


def errors(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(read_text(text, "x").data) if "'modality' is a required" not in error.message]


def test_it_is_a_schema_of_its_dialect():
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"].endswith("2020-12/schema")


def test_each_family_has_a_definition_that_is_one_of_its_kinds():
    choices = {definition["title"]: definition for definition in SCHEMA["$defs"].values() if "oneOf" in definition}
    assert sorted(choices) == COMPONENTS.families()
    for family, definition in choices.items():
        assert definition["properties"]["kind"]["enum"] == COMPONENTS.kinds(family)
        for kind, reference in definition["discriminator"]["mapping"].items():
            own = SCHEMA["$defs"][reference.removeprefix("#/$defs/")]
            node = COMPONENTS.find(family, kind)
            assert own["properties"]["kind"] == {"const": kind}
            assert set(own["properties"]) == {"kind", *node.model_fields}
            assert own["additionalProperties"] is False
            assert own["description"]


def test_a_recipe_on_the_page_is_valid_and_a_slip_is_not():
    assert errors(GOOD) == []


@pytest.mark.parametrize(
    "slip",
    [
        GOOD.replace("kind: dit", "kind: dut"), GOOD.replace("kind: dit", "depth: 3"), GOOD.replace("kind: dit", "kind: dit, deep: 3"),
        GOOD.replace("kind: heun", "kind: grid"), GOOD.replace("kind: edm", "kind: edm, rho: x"), GOOD + "sede: 1", GOOD + "seed: -1",
    ],
)  # fmt: skip
def test_a_slip_is_underlined(slip):
    assert errors(slip)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_shipped_recipes_are_valid(path):
    used = recipe.load(path, plugins=PLUGINS)
    VALIDATOR.validate(read_file(path).data)
    VALIDATOR.validate(read_text(recipe.dump(used), "written out").data)


def test_the_command_keeps_the_schema_until_a_source_changes(run_cli, tmp_path) -> None:
    """A second call answers the same from the cache; another set of plugins makes another."""
    cache = {"ANYLATENT_CACHE": str(tmp_path / "cache")}
    first = run_cli("recipe", "schema", env=cache).stdout
    kept = list((tmp_path / "cache" / "schema").glob("*.json"))
    assert len(kept) == 1
    assert run_cli("recipe", "schema", env=cache).stdout == first
    assert list((tmp_path / "cache" / "schema").glob("*.json")) == kept
    without = run_cli("recipe", "schema", env=cache | {"ANYLATENT_BLOCK": "image"}).stdout
    assert "image.digits" in first
    assert "image.digits" not in without
