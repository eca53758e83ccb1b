"""What is typed on the command line, as nodes and values."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anylatent.best_of import BestOf
from anylatent.conditioners.standard import ClassConfig
from anylatent.corrections.base import Correction
from anylatent.editing.base import Editor
from anylatent.guidance.base import Guidance
from anylatent.hooks.base import Hook
from anylatent.metrics.base import Metric
from anylatent.nn.sites import no_blocks
from anylatent.node import Node
from anylatent.recipe import read
from anylatent.sampling import StreamSampling
from anylatent.schedules import Schedule
from anylatent.solvers.base import Solver

if TYPE_CHECKING:
    from anylatent.cli.progress import Watch
    from anylatent.denoiser import Denoiser
    from anylatent.recipe import Recipe
    from anylatent.run import Run
    from anylatent.state import State


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


def streams(recipe: "Recipe", texts: Sequence[str]) -> dict[str, Any]:
    """`--stream NAME={…}`: the recipe's `sample.streams` with what is given here in place of it, where any was. Errors: `ValueError`."""
    given: dict[str, StreamSampling] = {}
    for text in texts:
        name, sign, node = text.partition("=")
        if not sign or not node.lstrip().startswith("{"):
            raise ValueError(f"--stream expects NAME={{solver: …, schedule: …}}, one of them or both, given '{text}'")
        if name in given:
            raise ValueError(f"--stream {name} is given twice: say its solver and its schedule in one")
        own = recipe.sample.streams.get(name, StreamSampling())
        asked = read(StreamSampling, node, origin=f"--stream {name}")
        given[name] = own.model_copy(update={key: getattr(asked, key) for key in asked.model_fields_set})
    return {"streams": recipe.sample.streams | given} if given else {}


def metrics(texts: Sequence[str]) -> list[Metric]:
    """`--metric`, each a kind or a whole node."""
    return [node(Metric, text, "--metric") for text in texts]


def conditions(recipe: "Recipe", texts: Sequence[str], option: str = "--condition") -> dict[str, Any]:
    """`--condition label=3`, read as the recipe's conditioner of that name reads it. Errors: `ValueError`."""
    asked: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"{option} expects NAME=VALUE, given '{text}'")
        known = {name: ClassConfig() for name in recipe.classifiers} | recipe.conditions
        if name not in known:
            raise ValueError(f"{option} {text}: {_unknown(name, known)}")
        if name in asked:
            raise ValueError(f"{option} {name} is given twice: samples of one request are asked one thing")
        try:
            asked[name] = known[name].parse(value)
        except ValueError as error:
            raise ValueError(f"{option} {text}: {error}") from error
    return asked


def given_samples(run: "Run", files: Sequence[Path], from_data: int) -> list[Any]:
    """The samples to edit: the user's files, or held-out ones. Errors: `ValueError`, `FileNotFoundError`."""
    if bool(files) == bool(from_data):
        raise ValueError("say what to edit: --given FILE (one or more), or --from-data N")
    if files:
        return samples(run, files, "--given: ")
    if from_data > len(run.test_set):
        raise ValueError(f"--from-data {from_data}: the data set has {len(run.test_set)} held-out samples")
    return [run.test_set[index].sample for index in range(from_data)]


def samples(run: "Run", files: Sequence[Path], option: str = "") -> list[Any]:
    """What is in these files. Errors: `FileNotFoundError`; as the modality's `read`."""
    missing = [str(file) for file in files if not file.exists()]
    if missing:
        raise FileNotFoundError(f"{option}there is no file {', '.join(missing)}")
    return [run.recipe.modality.read(file) for file in files]


def check_direction(out: Path, condition: Sequence[str], against: Sequence[str], svd: int, times: Sequence[float]) -> None:
    """Judge what `direction` is asked, before a run is opened. Errors: `ValueError`."""
    if not svd and not condition:
        raise ValueError("say what to find: --condition NAME=VALUE (and --against NAME=VALUE), or --svd N")
    if svd and against:
        raise ValueError("--against belongs to a contrast: leave it out, or leave out --svd")
    if svd and len(times) > 1:
        raise ValueError(f"--svd looks at one time, given {len(times)}: leave out all but one --time")
    if wrong := [t for t in times if not 0 < t < 1]:
        raise ValueError(f"--time {wrong[0]:g}: expected a time between 0 (data) and 1 (prior)")
    if out.exists():
        raise ValueError(f"--out {out} exists: choose another")


def block(denoiser: "Denoiser", number: int | None) -> int:
    """`--block`, else the last. Errors: `ValueError` if there is none."""
    depth = getattr(denoiser.backbone, "depth", 0) if "block" in denoiser.backbone.sites else 0
    chosen = max(0, depth - 1) if number is None else number
    if problem := no_blocks("--block", [chosen], depth):
        raise ValueError(problem)
    return chosen


def rows(run: "Run", samples: list[Any], count: int, asked: dict[str, Any], seed: int | None, weights: str, watch: "Watch") -> "State":
    """Clean tokens: of given samples in turn, or of as many that are made, asked this or as training samples are."""
    if not samples:
        return run.sample(count, asked or None, seed, weights=weights, watch=watch).state
    from anylatent.editing.base import encoded
    from anylatent.lazy import torch

    first = run.recipe.sample.seed if seed is None else seed
    return encoded(run.tokenizer, samples, torch.arange(first, first + count))


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
