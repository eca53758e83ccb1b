"""Data to nodes; every mistake at once, said with its place, what was given, what was expected, and the nearest name."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError

from anylatent.components import core_components
from anylatent.node import Components, Spec
from anylatent.plugins import PluginError, Plugins
from anylatent.recipe.document import Document, Path, shown
from anylatent.recipe.outline import Outline, family_of, item_at, options

AnySpec = TypeVar("AnySpec", bound=Spec)


def validated(root: type[AnySpec], document: Document, plugins: Plugins) -> AnySpec:
    """The node that a document describes, with the components of exactly the plugins that it names.

    Errors: `RecipeError` with every mistake of the document, those noted before included.
    """
    components = _components(document, plugins)
    outline = Outline(root, document.data, components)
    _note_booleans(document, outline)
    made = None
    try:
        made = root.model_validate(document.data, context={"components": components})
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            _note(document, outline, problem)
    document.check()
    assert made is not None, "whatever pydantic refuses is noted as a mistake"
    return made


def namespaces(data: Any) -> dict[str, Path]:
    """The plugins that recipe data names, each with the path of the first `kind` that does."""
    found: dict[str, Path] = {}
    own = {node.kind for node in core_components() if node.family == "modality"}
    for path, node in _kinds(data, ()):
        namespace, dot, _ = node["kind"].partition(".")
        if dot or (_is_modality(path, node) and node["kind"] not in own):
            found.setdefault(namespace, path)
    return found


def _is_modality(path: Path, node: Mapping[str, Any]) -> bool:
    """The recipe's modality, or one of several parts that has data: its kind is a plugin's namespace."""
    return path == ("modality", "kind") or (path[-3:-2] == ("parts",) and "data" in node)


def _kinds(data: Any, path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every mapping with a `kind`, and where that is."""
    if isinstance(data, Mapping):
        if isinstance(data.get("kind"), str):
            yield (*path, "kind"), data
        for key, item in data.items():
            yield from _kinds(item, (*path, key))
    elif isinstance(data, list):
        for index, item in enumerate(data):
            yield from _kinds(item, (*path, index))


def _components(document: Document, plugins: Plugins) -> Components:
    usable = []
    for namespace, path in namespaces(document.data).items():
        try:
            plugins.load(namespace)
            usable.append(namespace)
        except PluginError as error:
            document.mistake(path, str(error))
    return plugins.components(usable)


def _note_booleans(document: Document, outline: Outline) -> None:
    """Python takes true for 1; a person who writes `depth: true` does not mean it."""

    def walk(data: Any, path: Path) -> None:
        if isinstance(data, dict | list):
            for key, item in data.items() if isinstance(data, dict) else enumerate(data):
                walk(item, (*path, key))
        elif isinstance(data, bool):
            accepted = set(options(outline.annotation(path)))
            if accepted & {int, float} and bool not in accepted:
                document.mistake(path, f"expected a number; given {shown(data)}")

    walk(document.data, ())


def _note(document: Document, outline: Outline, problem: Mapping[str, Any]) -> None:
    """Say one of pydantic's problems in the words of a recipe."""
    path = _path(problem["loc"], document.data)
    kind, given = problem["type"], problem["input"]
    if kind == "kind":
        named = isinstance(given, Mapping) and "kind" in given
        document.mistake((*path, "kind") if named else path, problem["msg"])
    elif kind == "extra_forbidden":
        document.mistake(path, _unknown(outline, path), at_key=True)
    elif kind == "missing":
        document.mistake(path, f"is missing: expected {_expected(outline, path, 'a value')}")
    elif kind == "value_error":
        document.mistake(path, problem["msg"].removeprefix("Value error, "))
    else:
        advice = f": write `{{kind: {given}}}`" if isinstance(given, str) and given in _kinds_at(outline, path) else ""
        document.mistake(path, f"expected {_expected(outline, path, _bare(problem['msg']))}; given {shown(given)}{advice}")


def _unknown(outline: Outline, path: Path) -> str:
    *parent, key = path
    spec = outline.spec(tuple(parent))
    known = sorted(spec.model_fields) if spec else []
    near = get_close_matches(str(key)[:80], known, n=1)
    expected = f"; did you mean '{near[0]}'?" if near else f": expected one of {', '.join(known)}" if known else ": none is expected"
    return f"unknown key '{str(key)[:80]}'{expected}"


def _expected(outline: Outline, path: Path, otherwise: str) -> str:
    family = family_of(outline.annotation(path))
    return f"{family.family} as `{{kind: …}}`, one of: {', '.join(_kinds_at(outline, path)) or 'none installed'}" if family else otherwise


def _kinds_at(outline: Outline, path: Path) -> list[str]:
    family = family_of(outline.annotation(path))
    return outline.components.kinds(family.family) if family else []


def _bare(message: str) -> str:
    """What pydantic expects, in a recipe's words and without its way of saying so."""
    text = message.removeprefix("Input should be ").split(", unable to")[0].split(" or instance of ")[0]
    for python, ours in _WORDS.items():
        text = text.replace(python, ours)
    return f"a number {text}" if text.startswith(("greater", "less")) else text


_WORDS = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "a valid tuple": "a list",
    "a valid list": "a list",
    "a valid dictionary": "a mapping",
    "String should match pattern": "text like",
    "Tuple should have": "a list with",
    "List should have": "a list with",
    " after validation": "",
    ", got a number with a fractional part": "",
}
"""Pydantic's words on the left."""


def _path(location: tuple[str | int, ...], data: Any) -> Path:
    """The part of pydantic's location that is in the data: it adds names for the alternatives of a union."""
    path: list[str | int] = []
    for index, part in enumerate(location):
        if item_at(data, part, _ABSENT) is not _ABSENT:
            data = item_at(data, part)
            path.append(part)
        elif index == len(location) - 1 and isinstance(data, Mapping):
            path.append(part)
    return tuple(path)


_ABSENT = object()
