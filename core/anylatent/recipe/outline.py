"""What may stand at a path of a recipe: which component's field, and of what type."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from anylatent.node import Components, Node, Spec
from anylatent.recipe.document import Path


class Outline:
    """The types along a path of recipe data, with families resolved by the `kind` that the data gives."""

    def __init__(self, root: type[Spec], data: Any, components: Components) -> None:
        self.root, self.data, self.components = root, data, components

    def annotation(self, path: Path) -> Any:
        """The type of what stands at a path; None if nothing may."""
        here, data = self.root, self.data
        for part in path:
            here = self._inside(here, data, part)
            data = item_at(data, part)
        return here

    def spec(self, path: Path) -> type[Spec] | None:
        """The component (or other model) whose fields stand at a path; None if it cannot be told."""
        data = self.data
        for part in path:
            data = item_at(data, part)
        return next((found for option in options(self.annotation(path)) if (found := self._resolved(option, data))), None)

    def _inside(self, annotation: Any, data: Any, part: str | int) -> Any:
        for option in options(annotation):
            arguments = get_args(option)
            if (spec := self._resolved(option, data)) and part in spec.model_fields:
                return spec.model_fields[part].annotation
            if get_origin(option) is dict:
                return arguments[1]
            if get_origin(option) in (tuple, list) and isinstance(part, int):
                ragged = get_origin(option) is list or arguments[-1] is ...
                return arguments[0] if ragged else arguments[part] if part < len(arguments) else None
        return None

    def _resolved(self, option: Any, data: Any) -> type[Spec] | None:
        if not (isinstance(option, type) and issubclass(option, Spec)):
            return None
        if not (issubclass(option, Node) and option.family and not option.kind):
            return option
        kind = data.get("kind") if isinstance(data, Mapping) else None
        return next((node for node in self.components.of(option.family) if node.kind == kind), None)


def options(annotation: Any) -> Iterator[Any]:
    """The alternatives of a type: of `Schedule | None`, both."""
    if get_origin(annotation) in (dict, list, tuple) or not get_args(annotation):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from options(argument)


def family_of(annotation: Any) -> type[Node] | None:
    """The family whose components a type accepts, if it does."""
    nodes = (option for option in options(annotation) if isinstance(option, type) and issubclass(option, Node))
    return next((node for node in nodes if node.family), None)


def item_at(data: Any, part: str | int, otherwise: Any = None) -> Any:
    """What a mapping or a list holds at one part of a path."""
    if isinstance(data, Mapping):
        return data.get(part, otherwise)
    return data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else otherwise
