"""What is typed on the command line, as nodes and values."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anylatent.corrections.base import Correction
from anylatent.corrections.best_of import BestOf
from anylatent.editing.base import Editor
from anylatent.guidance.base import Guidance
from anylatent.hooks.base import Hook
from anylatent.metrics.base import Metric
from anylatent.node import Node
from anylatent.recipe import read
from anylatent.schedules import Schedule
from anylatent.solvers.base import Solver

if TYPE_CHECKING:
    from anylatent.recipe import Recipe
    from anylatent.run import Run


def node(family: type[Node], text: str, option: str, overrides: Sequence[str] = ()) -> Any:
    """A component from its kind or its whole node in YAML (or JSON). Errors: `RecipeError` naming the option."""
    return read(family, text if text.lstrip().startswith("{") else {"kind": text}, overrides=overrides, origin=option)


def editor(text: str, changes: Sequence[str]) -> Editor:
    """`--editor` with its `--set` options."""
    return node(Editor, text, "--editor", changes)


def changes(
    solver: str, schedule: str, guidance: str, hooks: Sequence[str], corrections: Sequence[str], best_of: str = ""
) -> dict[str, Any]:
    """`--solver`, `--schedule`, `--guidance`, `--hook`, `--correction` and `--best-of`, where they were given."""
    found: dict[str, Any] = {}
    if solver:
        found["solver"] = node(Solver, solver, "--solver")
    if schedule:
        found["schedule"] = node(Schedule, schedule, "--schedule")
    if hooks:
        found["hooks"] = tuple(node(Hook, text, "--hook") for text in hooks)
    if corrections:
        found["corrections"] = tuple(node(Correction, text, "--correction") for text in corrections)
    if best_of:
        found["best_of"] = read(BestOf, best_of, origin="--best-of")
    if guidance:
        whole = f"{{kind: classifier-free, scale: {guidance}}}" if _is_number(guidance) else guidance
        found["guidance"] = node(Guidance, whole, "--guidance")
    return found


def metrics(texts: Sequence[str]) -> list[Metric]:
    """`--metric`, each a kind or a whole node."""
    return [node(Metric, text, "--metric") for text in texts]


def conditions(recipe: "Recipe", texts: Sequence[str]) -> dict[str, Any]:
    """`--condition label=3`, read as the recipe's conditioner of that name reads it. Errors: `ValueError`."""
    asked: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"--condition expects NAME=VALUE, given '{text}'")
        if name not in recipe.conditions:
            raise ValueError(f"--condition {text}: {_unknown(name, recipe.conditions)}")
        if name in asked:
            raise ValueError(f"--condition {name} is given twice: samples of one request are asked one thing")
        try:
            asked[name] = recipe.conditions[name].parse(value)
        except ValueError as error:
            raise ValueError(f"--condition {text}: {error}") from error
    return asked


def given_samples(run: "Run", files: Sequence[Path], from_data: int) -> list[Any]:
    """The samples to edit: the user's files, or held-out ones. Errors: `ValueError`, `FileNotFoundError`."""
    if bool(files) == bool(from_data):
        raise ValueError("say what to edit: --given FILE (one or more), or --from-data N")
    missing = [str(file) for file in files if not file.exists()]
    if missing:
        raise FileNotFoundError(f"--given: there is no file {', '.join(missing)}")
    if files:
        return [run.recipe.modality.read(file) for file in files]
    if from_data > len(run.test_set):
        raise ValueError(f"--from-data {from_data}: the data set has {len(run.test_set)} held-out samples")
    return [run.test_set[index].sample for index in range(from_data)]


def size(text: str) -> tuple[int | None, ...] | None:
    """`--size 24x64`: a number an axis, '_' for one of which nothing is asked; None if it was not given. Errors: `ValueError`."""
    if not text:
        return None
    parts = text.lower().replace("×", "x").split("x")
    if not all(part == "_" or part.isdecimal() for part in parts):
        raise ValueError(f"--size expects whole numbers, one an axis, as in 24x64 (or _x64 for the second alone), given '{text}'")
    return tuple(None if part == "_" else int(part) for part in parts)


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"this run has no condition '{name}'{hint} (known: {', '.join(known) or 'none'})"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
