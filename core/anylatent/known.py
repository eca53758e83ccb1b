"""What is known of rows besides their tokens, when they are to be made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from anylatent.state import State
from anylatent.types import Tensor


@dataclass(frozen=True)
class Known:
    """What else is known of a request's rows, by stream: tensors with a leading row axis.

    `prior`: prior tokens in place of drawn ones. `begun`: the very tokens to begin with, at the first time. `memory`: what
    the solver remembers (of an inversion, say). `recorded` `(B, steps, N, C)`: the noise of each step. `measured`: what
    corrections and guidance go by, by name.
    """

    prior: Mapping[str, Tensor] = field(default_factory=dict)
    begun: Mapping[str, Tensor] = field(default_factory=dict)
    memory: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    recorded: Mapping[str, Tensor] = field(default_factory=dict)
    measured: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def to(self, device: Any) -> "Known":
        return Known(*(_moved(getattr(self, part.name), device) for part in fields(Known)))


@dataclass(frozen=True)
class Made:
    """Rows that went their way: where they arrived, what their solver remembers, and (if it was asked for) where they were.

    `trail`: `(B, steps + 1, N, C)` by stream, from the first time to the last.
    """

    state: State
    memory: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    trail: Mapping[str, Tensor] = field(default_factory=dict)


def _moved(tree: Any, device: Any) -> Any:
    return {name: _moved(inner, device) for name, inner in tree.items()} if isinstance(tree, Mapping) else tree.to(device)
