"""What the pages on recipes and the command line say is so."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from anylatent import recipe
from anylatent.cli.app import app
from anylatent.node import Node
from anylatent.plugins import Plugins
from anylatent.recipe import Recipe

ROOT = Path(__file__).parents[2]
RECIPES, CLI = ((ROOT / "docs" / name).read_text() for name in ("recipes.md", "cli.md"))
needs_image = pytest.mark.skipif("image" not in {plugin.namespace for plugin in Plugins.discover()}, reason="the pages show that plugin")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def lines() -> list[list[str]]:
    found = [line for page in (RECIPES, CLI) for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in found if line]


def leaves(command, words=("anylatent",)) -> dict[tuple[str, ...], object]:
    found = {words: command} if command.name != "anylatent" else {}
    for name, inner in getattr(command, "commands", {}).items():
        found |= leaves(inner, (*words, name))
    return found


COMMANDS = leaves(get_command(app))


@needs_image
def test_the_recipes_shown_are_valid():
    for text in blocks(RECIPES, "yaml"):
        assert recipe.load(text).anylatent == 1


MISTAKEN = """\
anylatent: 1
modality: {kind: image, data: {kind: image.digits}}
tokenizer: {kind: grid, pathc: [2, 2]}
denoiser: {kind: dti, depth: 6}
train:
  steps: many
"""


@needs_image
def test_the_mistakes_shown_are_told_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(MISTAKEN)
    with pytest.raises(recipe.RecipeError) as caught:
        recipe.load("mine.yaml", overrides=["train.bacth=3"])
    assert f"error: {caught.value}\n" in RECIPES


@needs_image
def test_the_python_shown_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    for code in blocks(RECIPES, "python"):
        exec(compile(code, "docs/recipes.md", "exec"), {})


@needs_image
@pytest.mark.parametrize("line", [line for line in lines() if line[1:2] == ["run"] and line[2].endswith(".yaml")], ids=" ".join)
def test_the_overrides_shown_are_valid(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    loaded = recipe.load(line[2], overrides=[word for word in line[3:] if "=" in word])
    assert isinstance(loaded, Node)


def test_every_key_of_a_recipe_is_in_its_table():
    assert re.findall(r"^\| `(\w+)` \|", RECIPES, re.MULTILINE) == list(Recipe.model_fields)


def test_every_command_is_in_its_table_and_no_other():
    told = {tuple(shlex.split(line)) for line in re.findall(r"^\| `(anylatent [^`]*)` \|", CLI, re.MULTILINE)}
    assert {tuple(word for word in words if word.islower()) for words in told} == {
        words for words, command in COMMANDS.items() if not getattr(command, "commands", {}) or words == ("anylatent", "plugins")
    }


@pytest.mark.parametrize("line", lines(), ids=" ".join)
def test_every_line_shown_uses_options_that_exist(line):
    words = max((words for words in COMMANDS if tuple(line[: len(words)]) == words), key=len)
    known = {name for parameter in COMMANDS[words].params for name in parameter.opts}
    assert {word for word in line if word.startswith("--")} <= known | {"--plugin", "--debug", "--version"}
