"""From a file, text or mapping to a recipe.

What judges a recipe (pydantic, the components) is imported after it was read: what is not even YAML is refused at once.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from anylatent.recipe.document import Document, of_mapping
from anylatent.recipe.migrations import migrate
from anylatent.recipe.overrides import override
from anylatent.recipe.reading import read_file, read_text

if TYPE_CHECKING:
    from anylatent.node import Spec
    from anylatent.plugins import Plugins
    from anylatent.recipe.model import Recipe

AnySpec = TypeVar("AnySpec", bound="Spec")


def load(source: Path | str | Mapping[str, Any], plugins: "Plugins | None" = None, overrides: Iterable[str] = ()) -> "Recipe":
    """A recipe from a file, from YAML text (a string with a line break, or that begins with `{`), or from a mapping.

    `overrides`: `train.steps=100`, judged like the file. Only the plugins that the recipe names are imported.
    Errors: `RecipeError` with all mistakes at once; `FileNotFoundError` and other `OSError` naming the file.
    """
    document = _document(source)
    migrate(document)
    if isinstance(source, Path | str) and _is_file(source):
        document.data.setdefault("name", _name_of(Path(source)))
    _apply(overrides, document)
    from anylatent.recipe.model import Recipe

    return _judged(Recipe, document, plugins)


def read(
    root: type[AnySpec],
    source: str | Mapping[str, Any],
    plugins: "Plugins | None" = None,
    overrides: Iterable[str] = (),
    origin: str = "",
) -> AnySpec:
    """A part of a recipe, such as an editor, from a mapping or its YAML; `origin` is named in errors, which are those of `load`."""
    named = origin or root.__name__
    document = read_text(source, named) if isinstance(source, str) else of_mapping(source, named)
    _apply(overrides, document)
    return _judged(root, document, plugins)


def _judged(root: type[AnySpec], document: Document, plugins: "Plugins | None") -> AnySpec:
    from anylatent.plugins import Plugins
    from anylatent.recipe.validation import validated

    return validated(root, document, plugins or Plugins.discover())


def _apply(overrides: Iterable[str], document: Document) -> None:
    for text in overrides:
        override(document, text)


def _document(source: Path | str | Mapping[str, Any]) -> Document:
    if isinstance(source, Mapping):
        return of_mapping(source)
    return read_file(Path(source)) if _is_file(source) else read_text(str(source), "the recipe")


def _is_file(source: Path | str) -> bool:
    return isinstance(source, Path) or not ("\n" in source or source.lstrip().startswith("{"))


def _name_of(path: Path) -> str:
    return re.sub(r"[^\w.+-]+", "-", path.stem, flags=re.ASCII).strip("-.+") or "recipe"
