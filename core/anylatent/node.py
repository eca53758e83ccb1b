"""A node of a recipe: frozen numbers, a `kind`, and the method that uses them.

A *family* is an abstract node (`class Solver(Node, family="solver")`); a *component* is a final one
(`class Heun(Solver, kind="heun")`). A field typed with a family accepts any component of it: from Python an instance,
from a recipe a mapping with `kind`, looked up among the components that validation was given.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationInfo, model_serializer, model_validator
from pydantic_core import PydanticCustomError


def _increasing(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = interval
    if not 0 <= low < high <= 1:
        raise ValueError(f"interval {list(interval)} must be two increasing times between 0 (data) and 1 (prior)")
    return interval


TimeInterval = Annotated[tuple[float, float], AfterValidator(_increasing)]
"""Times t, from and to, at which a method is active."""


class Spec(BaseModel):
    """Numbers and names, frozen: equal by value; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, ser_json_inf_nan="constants")

    def key(self) -> str:
        """This as canonical JSON: equal for equal values, in any process."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


@dataclass(frozen=True)
class Stage:
    """What there is to try a method on: an example of one names an axis, a stream, a condition of it.

    `stream`: the one that is tried, of those that are made the first with axes; `width` of its tokens; `axes`: by name, how long a
    step is and how many of them every sample has. `streams`: all names, of given ones too. `conditions`: by name, values that occur.
    """

    stream: str
    width: int
    axes: Mapping[str, tuple[float, int]]
    streams: Sequence[str]
    conditions: Mapping[str, Sequence[Any]]

    @property
    def others(self) -> tuple[str, ...]:
        """The other streams' names."""
        return tuple(name for name in self.streams if name != self.stream)

    @property
    def condition(self) -> str:
        """The name of one."""
        return next(iter(self.conditions))

    def something_else(self) -> dict[str, Any]:
        """What could be asked in place of what a row is: another value, or not to be asked at all."""
        values = self.conditions[self.condition]
        return {"ask": {self.condition: values[-1]}} if len(values) > 1 else {"without": [self.condition]}

    def middle(self) -> dict[str, float]:
        """Where the last axis has its middle, in its unit."""
        return {name: step * ((steps + 1) // 2) for name, (step, steps) in list(self.axes.items())[-1:]}


class Node(Spec):
    """Base of everything that a recipe can name by `kind`."""

    family: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    example: ClassVar[Mapping[str, Any]] = {}
    """Fields of one that is at work, where the defaults are not: what the catalogue shows and the tests of pairs try."""
    variations: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Other ways in which it works, that are tried as methods of their own: by name, fields that differ from those of `example`."""
    costs: ClassVar[Mapping[str, str]] = {}
    """What the engine counts more with it, at most: by the receipt's name ("network_calls", "gradients"), an expression of its fields.

    A list of an expression is how many it holds, another method its own costs. The unit is the family's, see `catalogue.UNITS`.
    """
    neutral: ClassVar[Mapping[str, Any] | None] = None
    """Fields with which it changes nothing, bit for bit, if there are any."""
    python_only: ClassVar[bool] = False
    """Whether it holds something that no recipe can say (a function, a matrix)."""
    systems: ClassVar[tuple[str, ...]] = ()
    """Published systems that it expresses: "NAME (arXiv id)"."""

    def __init_subclass__(cls, family: str = "", kind: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        if family:
            cls.family = family
        cls.kind = kind

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        """`example`, or one of the `variations`, that suits a stage: by its axes, streams and conditions, if it names any."""
        return {**cls.example, **cls.variations.get(variation, {})}

    @model_validator(mode="wrap")
    @classmethod
    def _choose(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if isinstance(value, Mapping):
            if cls.family and not cls.kind:
                return cls._chosen(value, info).model_validate(value, context=info.context)
            if cls.kind:
                given = value.get("kind", cls.kind)
                if given != cls.kind:
                    raise PydanticCustomError(
                        "kind", "this {family} is of kind '{kind}', given '{given}'",
                        {"family": cls.family, "kind": cls.kind, "given": given},
                    )  # fmt: skip
                value = {key: item for key, item in value.items() if key != "kind"}
        return handler(value)

    @classmethod
    def _chosen(cls, value: Mapping[str, Any], info: ValidationInfo) -> type[Any]:
        components: Components | None = (info.context or {}).get("components")
        if components is None:
            raise PydanticCustomError(
                "kind", "a mapping can be read here only with the installed components: give an instance, or use anylatent.recipe.load"
            )
        if not isinstance(value.get("kind"), str):
            raise PydanticCustomError(
                "kind", "a {family} needs `kind`, one of: {choices}",
                {"family": cls.family, "choices": ", ".join(components.kinds(cls.family)) or "none installed"},
            )  # fmt: skip
        found = components.find(cls.family, value["kind"])
        if found.python_only:
            raise PydanticCustomError(
                "kind", "no recipe can say {family} '{kind}': a function is given from Python only",
                {"family": cls.family, "kind": found.kind},
            )  # fmt: skip
        return found

    @model_serializer(mode="plain")
    def _dump(self) -> dict[str, Any]:
        # By hand: pydantic would drop the fields that a component adds to its family.
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return {"kind": self.kind} | fields if self.kind else fields


class Components:
    """The components that a recipe may name, by family and kind."""

    def __init__(self, nodes: Iterable[type[Node]] = ()) -> None:
        self._nodes: dict[tuple[str, str], type[Node]] = {}
        for node in nodes:
            self.add(node)

    def add(self, node: type[Node]) -> None:
        """Register a component. Errors: `ValueError` if it has no family or kind, or its name is taken by another."""
        if not (node.family and node.kind):
            raise ValueError(f"{node.__module__}.{node.__qualname__} needs a family and a kind: class {node.__name__}(Solver, kind='…')")
        other = self._nodes.setdefault((node.family, node.kind), node)
        if other is not node:
            raise ValueError(
                f"two components are named {node.family} '{node.kind}': {other.__module__}.{other.__qualname__} "
                f"and {node.__module__}.{node.__qualname__}; rename one"
            )

    def kinds(self, family: str) -> list[str]:
        """The kinds of a family, sorted."""
        return sorted(kind for group, kind in self._nodes if group == family)

    def families(self) -> list[str]:
        return sorted({family for family, _ in self._nodes})

    def of(self, family: str) -> list[type[Node]]:
        return [self._nodes[family, kind] for kind in self.kinds(family)]

    def find(self, family: str, kind: str) -> type[Node]:
        """The component of that name. Errors: a pydantic error that lists the choices and the nearest name."""
        if (family, kind) in self._nodes:
            return self._nodes[family, kind]
        near = get_close_matches(kind, self.kinds(family), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        elsewhere = [group for group, name in self._nodes if name == kind]
        if elsewhere and not near:
            hint = f"; '{kind}' is a {elsewhere[0]}"
        raise PydanticCustomError(
            "kind", "there is no {family} '{kind}'{hint} (known: {choices})",
            {"family": family, "kind": kind, "hint": hint, "choices": ", ".join(self.kinds(family)) or "none installed"},
        )  # fmt: skip

    def __iter__(self):
        return iter(self._nodes.values())
