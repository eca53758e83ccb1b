"""What counts as a text."""

from typing import Any


def checked(value: Any) -> str:
    """The value, if it is a text. Errors: `ValueError` says what was given."""
    if not isinstance(value, str):
        raise ValueError(f"expected a text, given {value!r} ({type(value).__name__})")
    return value
