"""Recipes: YAML read as data, judged whole, and written back whole. What a recipe makes is no business of this room.

Names are imported when they are first used, so that a file that is no YAML is refused before anything heavy is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anylatent.recipe.document import Mistake, RecipeError
    from anylatent.recipe.json_schema import schema
    from anylatent.recipe.loading import load, read
    from anylatent.recipe.migrations import VERSION
    from anylatent.recipe.model import Recipe
    from anylatent.recipe.writing import dump

__all__ = ["VERSION", "Mistake", "Recipe", "RecipeError", "dump", "load", "read", "schema"]

_HOMES = {
    "VERSION": "migrations",
    "Mistake": "document",
    "Recipe": "model",
    "RecipeError": "document",
    "dump": "writing",
    "load": "loading",
    "read": "loading",
    "schema": "json_schema",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"anylatent.recipe.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'anylatent.recipe' has no attribute '{name}'")
