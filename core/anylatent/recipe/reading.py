"""YAML to a document. Data only: no tags, no aliases, nothing that expands or runs; numbers as people write them.

Plain scalars are those of YAML 1.2's core schema: `1e-3` is a number, `no` and `on` are text (YAML 1.1 had it otherwise), and
`1_000` is a thousand.
"""

import math
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path as File
from typing import Any, NoReturn

import yaml

from anylatent.recipe.document import DEPTH, Document, Mistake, Path, Place, RecipeError

LARGEST = 1_000_000
"""Bytes. A recipe is a page or two."""
MOST = 10_000
"""Values, of mappings and lists together."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_INTEGER = re.compile(r"[-+]?\d{1,40}(_\d{1,40}){0,9}", re.ASCII)
_RADIX = re.compile(r"0x[0-9a-fA-F]{1,40}|0o[0-7]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(_\d+)*(\.\d*)?)([eE][-+]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def read_file(path: File) -> Document:
    """A document of a YAML file. Errors: `FileNotFoundError`, `OSError`, `RecipeError`, each naming the file."""
    if path.is_dir():
        inside = path / "recipe.yaml"
        hint = f": this one is a run, its recipe is {inside}" if inside.exists() else ""
        raise IsADirectoryError(f"'{path}' is a folder, a recipe is a YAML file{hint}")
    if not path.exists():
        raise FileNotFoundError(f"there is no recipe '{path}'{_nearest_file(path)}")
    try:
        with open(path, "rb") as stream:
            content = stream.read(LARGEST + 1)
    except PermissionError as error:
        raise PermissionError(f"the recipe '{path}' cannot be read: permission denied") from error
    return read_text(_decoded(content, str(path)), str(path))


def read_text(text: str, origin: str) -> Document:
    """A document of YAML text. Errors: `RecipeError` for what is not YAML, or not a mapping, or not plain data."""
    if len(text) > LARGEST:
        _refuse(origin, f"is larger than {LARGEST // 1_000_000} MB: a recipe is a page of text")
    return _Reader(text, origin).document()


def read_value(text: str, origin: str) -> Any:
    """One value, as in `train.ema=[0.9, 0.99]`. Errors: `RecipeError`."""
    if not text.strip():
        return ""
    reader = _Reader(text, origin)
    value = reader.value()
    reader.result.check()
    return value


def scalar(text: str) -> Any:
    """What a plain scalar means: None, a bool, a number, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _RADIX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return math.nan if _NOT_FINITE.fullmatch(text) else text


def _refuse(origin: str, text: str, mark: Any = None) -> NoReturn:
    place = Place(origin, mark.line + 1, mark.column + 1) if mark else Place(origin)
    raise RecipeError([Mistake(place, (), text)])


def _decoded(content: bytes, origin: str) -> str:
    if len(content) > LARGEST:
        _refuse(origin, f"is larger than {LARGEST // 1_000_000} MB: a recipe is a page of text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(origin, f"is not text: byte 0x{content[error.start]:02x} at offset {error.start} is not UTF-8")


def _nearest_file(path: File) -> str:
    beside = [other.name for other in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=1)
    return f"; did you mean '{path.parent / near[0]}'?" if near else ""


class _Reader:
    """Builds data from the parser's events, so that nothing is built that a recipe may not hold."""

    def __init__(self, text: str, origin: str) -> None:
        self.result = Document(origin, None)
        self.origin = origin
        self.count = 0
        self.events: Iterator[Any] = yaml.parse(text, Loader=_Loader)

    def document(self) -> Document:
        self.result.data = self.value()
        if not isinstance(self.result.data, dict):
            given = "nothing" if self.result.data is None else "a list" if isinstance(self.result.data, list) else "a single value"
            _refuse(self.origin, f"holds {given}: a recipe is a mapping, such as `modality: {{kind: …}}`")
        return self.result

    def value(self) -> Any:
        """The only document. The marks of the parser count from 0, ours from 1."""
        self._next(yaml.StreamStartEvent)
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            return None
        value = self._node(self._next(), (), 0)
        self._next(yaml.DocumentEndEvent)
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            _refuse(self.origin, "a second document begins: a recipe is one", event.start_mark)
        return value

    def _next(self, *expected: type) -> Any:
        try:
            event = next(self.events)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            at = f" (character {error.position + 1})" if isinstance(error, yaml.reader.ReaderError) else ""
            problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
            _refuse(self.origin, f"is not YAML: {problem}{at}", mark)
        assert not expected or isinstance(event, expected), event
        return event

    def _node(self, event: Any, path: Path, depth: int) -> Any:
        if depth > DEPTH:
            _refuse(self.origin, f"nested more than {DEPTH} deep: a recipe is not", event.start_mark)
        self.count += 1
        if self.count > MOST:
            _refuse(self.origin, f"holds more than {MOST:,} values: a recipe is a page of text", event.start_mark)
        self.result.values.setdefault(path, self._plain_place(event))
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, depth)
        return self._scalar(event, path)

    def _plain_place(self, event: Any) -> Place:
        """Where an event stands. Refuses what is more than plain data."""
        mark = event.start_mark
        if event.anchor:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            _refuse(self.origin, f"'{sign}{event.anchor[:40]}': anchors and aliases are not read; write the value out", mark)
        if event.tag is not None:
            _refuse(self.origin, f"the tag '{event.tag[:60]}' is not read: a recipe holds plain data, and names components by `kind`", mark)
        return Place(self.origin, mark.line + 1, mark.column + 1)

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or not event.value:
                _refuse(self.origin, "a key must be a name", event.start_mark)
            place, inside = self._plain_place(event), (*path, event.value)
            first = self.result.keys.setdefault(inside, place)
            value = self._node(self._next(), inside, depth + 1)
            if event.value in mapping:
                self.result.mistakes.append(Mistake(place, inside, f"given twice; first in line {first.line}"))
            mapping.setdefault(event.value, value)
        return mapping

    def _sequence(self, path: Path, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), depth + 1))
        return items

    def _scalar(self, event: Any, path: Path) -> Any:
        if not event.implicit[0]:
            return event.value
        value = scalar(event.value)
        if isinstance(value, float) and not math.isfinite(value):
            self.result.mistake(path, f"expected a finite number; given {event.value[:40]}")
            return 0.0
        return value
