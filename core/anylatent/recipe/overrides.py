"""Dotted overrides, `train.steps=100`: applied to the data before it is validated, so that they are judged like the file."""

from typing import Any

from anylatent.recipe.document import DEPTH, Document, Mistake, Place, RecipeError, shown
from anylatent.recipe.reading import read_value


def override(document: Document, text: str) -> None:
    """Set one value: `path=value`, the value in YAML (`train.ema=[0.9,0.99]`, `sample.solver={kind: heun}`).

    Mappings on the way are made; a list takes an index, or its length to append. What cannot be set is noted as a mistake.
    """
    origin = f"override '{text if len(text) <= 80 else text[:77] + '…'}'"
    place = Place(origin)
    dotted_path, sign, written = text.partition("=")
    parts = dotted_path.strip().split(".")
    if not sign or not all(parts) or len(parts) > DEPTH:
        document.mistakes.append(Mistake(place, (), "expected path=value, such as train.steps=100"))
        return
    try:
        value = read_value(written, origin)
    except RecipeError as error:
        document.mistakes.extend(Mistake(place, (), mistake.text) for mistake in error.mistakes)
        return
    _put(document, parts, value, place)


def _put(document: Document, parts: list[str], value: Any, place: Place) -> None:
    here, path = document.data, ()
    for left, part in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
        key = _key(here, part)
        if key is None:
            document.mistakes.append(Mistake(place, path, f"is {shown(here)}: it has no '{part}'"))
            return
        path = (*path, key)
        if left == 0 or _held(here, key) is None:
            document.replace(path, place)
            _store(here, key, {} if left else value)
        here = _held(here, key)


def _key(here: Any, part: str) -> str | int | None:
    """What `part` addresses in a mapping or a list; None if it cannot address anything."""
    if isinstance(here, dict):
        return part
    if isinstance(here, list) and part.isdecimal() and int(part) <= len(here):
        return int(part)
    return None


def _held(here: Any, key: Any) -> Any:
    return here.get(key) if isinstance(here, dict) else here[key] if key < len(here) else None


def _store(here: Any, key: Any, value: Any) -> None:
    if isinstance(here, list) and key == len(here):
        here.append(value)
    else:
        here[key] = value
