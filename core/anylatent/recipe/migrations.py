"""Older recipes, brought up to date: one pure function a version, from the data of that version to the next one's."""

from collections.abc import Callable, Mapping
from typing import Any

from anylatent.recipe.document import Document, shown

VERSION = 1
"""Of the recipe language. A change that old recipes would not survive raises it and brings a migration."""

Migration = Callable[[dict[str, Any]], dict[str, Any]]

MIGRATIONS: Mapping[int, Migration] = {}
"""By the version that each one reads. Version 1 is the first."""


def migrate(document: Document, migrations: Mapping[int, Migration] = MIGRATIONS, current: int = VERSION) -> None:
    """Bring the data to the current version, in place; without a version it is taken for current.

    Errors: `RecipeError` for a version that cannot be read: the rest is then not worth judging.
    """
    version = document.data.get("anylatent", current)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        document.mistake(("anylatent",), f"expected a version of the recipe language, 1 to {current}; given {shown(version)}")
    elif version > current:
        document.mistake(("anylatent",), f"this recipe is of version {version}, this anylatent reads up to {current}: upgrade anylatent")
        document.check()
    else:
        for older in range(version, current):
            document.data = migrations[older](document.data) | {"anylatent": older + 1}
