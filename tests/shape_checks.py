"""The type checker that pytest gives to jaxtyping: beartype, on the annotations that hold array shapes and no others.

Other annotations are pyright's: at run time beartype refuses pydantic's own hints, and an int where a float is asked.
"""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, refusing arrays of other shapes or types than its annotations say. Owns `function`: it loses its other hints."""
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if holds_shape(hint)}
    return beartype(function) if function.__annotations__ else function


def holds_shape(hint: Any) -> bool:
    """Whether jaxtyping's `Float[Tensor, "…"]` occurs in a hint."""
    return (isinstance(hint, type) and issubclass(hint, AbstractArray)) or any(holds_shape(part) for part in get_args(hint))
