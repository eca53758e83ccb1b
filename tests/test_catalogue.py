"""The catalogue says what there is."""

import re

import pytest
from catalogue import PAGE
from every_method import OF_A_FILE

from anylatent.catalogue import METHODS, example, families, page, papers, summary
from anylatent.components import core_components
from anylatent.node import Components, Node
from anylatent.recipe import read

NODES = [node for nodes in families(core_components()).values() for node in nodes]
TRIVIAL = {"none", "identity", "independent", "uniform", "brownian", "squared", "denoise", "inverse", "direction", "linear"}
"""Kinds that are nothing special, and cite nobody; what is measured, and of what, is a user's."""
USERS = {"measurement", "energy", "value"}


def test_the_page_is_as_the_components_are() -> None:
    assert PAGE.read_text() == page(core_components()), "python tests/catalogue.py writes the page again"


def test_every_family_of_methods_is_on_it() -> None:
    """A family that core has is a method's, or one of those that belong to a modality, a run or another component."""
    others = {"modality", "dataset", "tokenizer", "conditioner", "denoiser", "metric", "features"}
    assert {node.family for node in core_components()} - set(METHODS) <= others


@pytest.mark.parametrize("node", NODES, ids=lambda node: f"{node.family}-{node.kind}")
def test_every_method_says_what_it_is(node: type[Node]) -> None:
    """One line, whose words are no signature; an example and neutral settings that a recipe can hold."""
    assert 10 <= len(summary(node)) <= 200
    for given in (node.example, node.neutral):
        if given is not None and not node.python_only and node.kind not in OF_A_FILE:
            built = (
                Components(core_components())
                .find(node.family, node.kind)
                .model_validate({"kind": node.kind, **given}, context={"components": Components(core_components())})
            )
            assert read(_family(node), example(node) if given is node.example else built.key()) is not None
    for name, field in node.model_fields.items():
        assert field.description, f"{node.family} {node.kind}: `{name}` has no description"
    for system in node.systems:
        assert re.search(r"\(\d{4}\.\d{4,5}\)$|\((19|20)\d\d\)$", system), f"{node.kind}: '{system}' should end in (arXiv id) or (year)"


@pytest.mark.parametrize(
    "node", [node for node in NODES if node.kind not in TRIVIAL and node.family not in USERS], ids=lambda node: f"{node.family}-{node.kind}"
)
def test_every_method_names_its_source(node: type[Node]) -> None:
    text = node.__doc__ or ""
    assert papers(node) or re.search(r"[A-Z]\w+.*\b(19|20)\d\d\b", text), f"{node.family} {node.kind} cites nobody"


def _family(node: type[Node]) -> type[Node]:
    return next(base for base in reversed(node.__mro__) if issubclass(base, Node) and base.family == node.family and not base.kind)
