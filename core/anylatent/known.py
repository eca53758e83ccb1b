"""What is known of rows besides their tokens, when they are to be made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from anylatent.state import State
from anylatent.types import Tensor


@dataclass(frozen=True)
class Known:
    """What else is known of a request's rows, by stream: tensors with a leading row axis.

    `prior`: prior tokens in place of drawn ones. `begun`: the very tokens to begin with, at the first time. `memory`: what
    the solver remembers (of an inversion, say). `recorded` `(B, steps, N, C)`: the noise of each step. `measured`: what
    corrections and guidance go by, by name. `spent` `(B,)`: what rows cost before (an inversion, say), by method and by the name
    of the count: their receipts begin with it.
    """

    prior: Mapping[str, Tensor] = field(default_factory=dict)
    begun: Mapping[str, Tensor] = field(default_factory=dict)
    memory: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    recorded: Mapping[str, Tensor] = field(default_factory=dict)
    measured: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    spent: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def problems(self, shapes: Mapping[str, tuple[int, ...]], memory: Mapping[str, Mapping[str, Tensor]] | None = None) -> Iterator[str]:
        """Why it is not of these rows: `shapes` `(B, N, C)` of the streams that there are, `memory` what their solvers begin with."""
        rows = next(iter(shapes.values()))[0]
        for part in ("prior", "begun", "memory", "recorded", "measured"):
            known = getattr(self, part)
            strangers = sorted(set(known) - set(shapes))
            if strangers:
                yield f"`Known.{part}` names the streams {strangers}: the denoiser has {sorted(shapes)}"
            for name in sorted(set(known) & set(shapes)):
                own = known[name] if isinstance(known[name], Mapping) else {"": known[name]}
                for what, tensor in own.items():
                    whose = f"`Known.{part}` of stream '{name}'" + (f", '{what}'," if what else "")
                    if len(tensor) != rows:
                        yield f"{whose} has {len(tensor)} rows: the request has {rows}"
                    elif part in ("prior", "begun") and tuple(tensor.shape) != shapes[name]:
                        yield f"{whose} has the shape {tuple(tensor.shape)}: the request's tokens have {shapes[name]}"
                    elif part == "recorded" and (tensor.dim() != 4 or tuple(tensor.shape[2:]) != shapes[name][1:]):
                        expected = ", ".join(map(str, shapes[name][1:]))
                        yield f"{whose} has the shape {tuple(tensor.shape)}: expected ({rows}, steps, {expected})"
        for name, own in (memory or {}).items():
            given = {what: tuple(tensor.shape) for what, tensor in self.memory.get(name, own).items()}
            expected = {what: tuple(tensor.shape) for what, tensor in own.items()}
            if given != expected:
                yield f"`Known.memory` of stream '{name}' has {given or 'nothing'}: its solver remembers {expected or 'nothing'}"
        for method, counts in self.spent.items():
            for name, amounts in counts.items():
                if len(amounts) != rows:
                    yield f"`Known.spent` of '{method}', '{name}', has {len(amounts)} rows: the request has {rows}"

    def to(self, device: Any) -> "Known":
        return Known(*(_moved(getattr(self, part.name), device) for part in fields(Known)))


@dataclass(frozen=True)
class Made:
    """Rows that went their way: where they arrived, what their solver remembers, and (if it was asked for) where they were.

    `trail`: `(B, steps + 1, N, C)` by stream, from the first time to the last. `spent` `(B,)`: what it cost, as in `Known`.
    """

    state: State
    memory: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    trail: Mapping[str, Tensor] = field(default_factory=dict)
    spent: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


def _moved(tree: Any, device: Any) -> Any:
    return {name: _moved(inner, device) for name, inner in tree.items()} if isinstance(tree, Mapping) else tree.to(device)
