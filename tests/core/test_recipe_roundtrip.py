"""Whatever can be described can be written down, and means the same when it is read."""

from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from anylatent import recipe
from anylatent.node import Node, Spec
from anylatent.plugins import Plugins

PLUGINS = Plugins.discover()
COMPONENTS = PLUGINS.usable()[0]
TRAPS = ["1e-3", "no", "null", "~", "0x10", ".5", "a: b", "- x", "2020-01-01", "#", "1:30", "True", ".inf", "<<", "="]
TEXTS = st.text(max_size=12) | st.sampled_from(TRAPS)
WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
PLAIN: dict[Any, st.SearchStrategy] = {
    float: st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 1),
    int: st.integers(-3, 10**6),
    str: TEXTS,
    Any: st.booleans() | st.integers(-3, 10**6) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS | st.lists(TEXTS, max_size=2),
    Path: st.text("ab ./é", min_size=1, max_size=8).map(Path),
}


def values(annotation: Any) -> st.SearchStrategy:
    """Values of a field's type; a family's are those of its components."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        family = getattr(annotation, "family", "") if not getattr(annotation, "kind", "") else ""
        choices = [node for node in COMPONENTS.of(family) if not node.python_only] if family else [annotation]
        return st.one_of([st.deferred(lambda node=node: nodes(node)) for node in choices])
    if origin is tuple:
        several = arguments[-1] is ...
        return st.lists(values(arguments[0]), max_size=2).map(tuple) if several else st.tuples(*map(values, arguments))
    if origin is dict:
        return st.dictionaries(WORDS | WORDS | WORDS | st.text(min_size=1, max_size=8), values(arguments[1]), max_size=2)
    if origin in (Union, UnionType):
        return st.one_of(*map(values, arguments))
    return PLAIN[annotation] if annotation in PLAIN else st.from_type(annotation)


@st.composite
def nodes(draw: st.DrawFn, node: type[Spec]) -> Spec:
    """A component with some of its fields drawn, without those drawn values that it refuses."""
    chosen = [name for name, field in node.model_fields.items() if field.is_required() or draw(st.booleans())]
    drawn = {name: draw(values(node.model_fields[name].annotation)) for name in chosen}
    for _ in range(len(drawn) + 1):
        try:
            return node(**drawn)
        except ValidationError as error:
            refused = {problem["loc"][0] for problem in error.errors() if problem["loc"]} or set(drawn)
            drawn = {name: value for name, value in drawn.items() if name not in refused}
    assume(False)
    raise AssertionError


@pytest.mark.parametrize(
    "node", [*(node for node in COMPONENTS if not node.python_only), recipe.Recipe], ids=lambda node: f"{node.family}:{node.kind}"
)
def test_every_component_survives_being_written_and_read(node: type[Node]) -> None:
    few = 4 if node.kind == "joint" else 20  # one of several whole modalities takes long to draw

    @settings(max_examples=few, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(nodes(node))
    def survives(made: Spec) -> None:
        written = recipe.dump(made)
        again = recipe.read(type(made), written, plugins=PLUGINS)
        assert again == made
        assert recipe.dump(again) == written
        assert again.key() == made.key()

    survives()
