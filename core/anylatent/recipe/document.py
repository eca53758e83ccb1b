"""A recipe as it was written: plain data, where each part of it stands, and the mistakes found in it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any

DEPTH = 40
"""The deepest nesting that is read: far more than a recipe needs, far less than Python's stack."""
SHOWN = 40
"""How many mistakes are listed; the rest are counted."""
LONGEST = 600
"""Characters of one mistake's text."""

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Where a part was written: a file with line and column from 1, or an override (which has no lines)."""

    origin: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.origin}:{self.line}:{self.column}" if self.line else self.origin


@dataclass(frozen=True)
class Mistake:
    """One mistake: where it was written, the path of the part (`train.steps`), what was given and what was expected."""

    place: Place
    path: Path
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {dotted(self.path)}: {self.text}" if self.path else f"{self.place}: {self.text}"


class RecipeError(ValueError):
    """All the mistakes of a recipe at once, in the order in which they were written."""

    def __init__(self, mistakes: "list[Mistake]") -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: (mistake.place.line == 0, mistake.place.line, mistake.place.column)))
        super().__init__(self._text())

    def _text(self) -> str:
        count = len(self.mistakes)
        lines = [str(mistake) for mistake in self.mistakes[:SHOWN]]
        more = [f"… and {count - SHOWN} more"] if count > SHOWN else []
        return "\n  ".join([f"{count} mistake{'s' if count > 1 else ''}:", *lines, *more])


@dataclass
class Document:
    """Plain data from `origin`, with the places of its keys and values by path."""

    origin: str
    data: Any
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(self, path: Path, text: str, at_key: bool = False) -> None:
        """Note a mistake at a path, unless one was noted there already: the first is the cause, the others follow from it."""
        if not any(known.path == path for known in self.mistakes[:SHOWN]):
            self.mistakes.append(Mistake(self.place(path, at_key), path, text if len(text) <= LONGEST else f"{text[:LONGEST]}…"))

    def place(self, path: Path, at_key: bool = False) -> Place:
        """Where a path was written; for one that was not, where the nearest part around it was."""
        for end in range(len(path), -1, -1):
            places = (self.keys, self.values) if at_key or end < len(path) else (self.values, self.keys)
            for known in places:
                if path[:end] in known:
                    return known[path[:end]]
        return Place(self.origin)

    def replace(self, path: Path, place: Place) -> None:
        """Forget where the parts under a path were written: all of it now stands at `place`."""
        for places in (self.keys, self.values):
            for inner in [known for known in places if known[: len(path)] == path]:
                del places[inner]
        self.keys[path] = self.values[path] = place

    def check(self) -> None:
        """Errors: `RecipeError` if mistakes were noted."""
        if self.mistakes:
            raise RecipeError(self.mistakes)


def of_mapping(given: Mapping[str, Any], origin: str = "the recipe") -> Document:
    """A document of a mapping from Python: its containers are copied, its other values (nodes too) kept as they are."""
    return Document(origin, _copied(given, 0, origin))


def _copied(value: Any, depth: int, origin: str) -> Any:
    if depth > DEPTH:
        raise RecipeError([Mistake(Place(origin), (), f"nested more than {DEPTH} deep: a recipe is not")])
    if isinstance(value, Mapping):
        return {key: _copied(item, depth + 1, origin) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item, depth + 1, origin) for item in value]
    return str(value) if isinstance(value, File) else value


def dotted(path: Path) -> str:
    """`sample.solver.kind`, shortened if it is absurdly long."""
    text = ".".join(str(part) for part in path)
    return text if len(text) <= 120 else text[:117] + "…"


def shown(value: Any) -> str:
    """A value as it may stand in a message: as YAML writes it, never long."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}…"
