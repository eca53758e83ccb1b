"""Describing costs nothing: torch is imported when a number is first needed, not when a recipe is read.

Modules that hold recipe nodes (`from anylatent.lazy import torch`) can be imported, validated and printed without
torch. Modules that hold weights import torch itself.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any


class LazyModule(ModuleType):
    """A module that is imported at the first attribute asked of it, and is not in `sys.modules` before."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self.__name__), name)
        self.__dict__[name] = value
        return value


if TYPE_CHECKING:
    import torch
else:
    torch = LazyModule("torch")

__all__ = ["torch"]
