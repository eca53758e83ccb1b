"""The catalogue says what there is."""

import re

import pytest
from catalogue import PAGE

from anylatent.catalogue import METHODS, NO_NEUTRAL, UNITS, all_parts, example, expressing, families, page, papers, reckoned, summary, told
from anylatent.cli.methods import methods
from anylatent.components import core_components
from anylatent.hooks.base import Hook
from anylatent.node import Components, Node
from anylatent.recipe import read

NODES = [node for nodes in families(core_components()).values() for node in nodes]
TRIVIAL = {"none", "identity", "independent", "uniform", "brownian", "squared", "denoise", "inverse", "direction", "linear"}
"""Kinds that are nothing special, and cite nobody; what is measured, and of what, is a user's."""
USERS = {"measurement", "energy", "value"}
OF_A_PLUGIN = {"part"}
"""Kinds that need another component, which core has none of: tried in the tests of their own."""


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
        if given is not None and not node.python_only and node.kind not in OF_A_PLUGIN:
            built = (
                Components(core_components())
                .find(node.family, node.kind)
                .model_validate({"kind": node.kind, **node.example, **given}, context={"components": Components(core_components())})
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


@pytest.mark.parametrize("node", NODES, ids=lambda node: f"{node.family}-{node.kind}")
def test_costs_are_expressions_that_can_be_reckoned(node: type[Node]) -> None:
    """Of options, and of quantities that the page explains."""
    if not node.costs or node.python_only:
        return
    components = Components(core_components())
    built = node.model_validate({"kind": node.kind, **node.example}, context={"components": components})
    quantities = {"seen": 2, "steps": 6, "again": 0, "blocks": 1, "classes": 2, "needed": 1}
    assert set(node.costs) <= {"network_calls", "gradients"}
    assert all(reckoned(built, what, **quantities) >= 0 for what in node.costs)


def test_a_plugins_method_without_a_neutral_setting_is_told_with_the_reason() -> None:
    """Of every family: which of core's are neutral in some setting says nothing of a plugin's."""
    reasons = [family for families in NO_NEUTRAL.values() for family in families]
    assert sorted(reasons) == sorted({*METHODS, "option", "perception"})

    class Quiet(Hook, kind="test-quiet"):
        """Does nothing."""

    assert "changes nothing with: no setting; it is off only where it is left out" in told(Quiet)


def test_no_cell_of_what_is_neutral_or_what_it_costs_is_blank() -> None:
    """Neutral settings, or `-` for a reason that the page's head gives; calls wherever something is sampled or judged."""
    reasons = {family for families in NO_NEUTRAL.values() for family in families}
    counted = {family for families in UNITS.values() for family in families}
    family, heads = "", []
    seen = set()
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            family = "option" if "options" in line else line.removeprefix("## ")
        elif line.startswith(("| kind", "| option")):
            heads = [cell.strip() for cell in line.split(" | ")]
            assert ("extra network calls" in heads) == (family in counted)
        elif line.startswith("| `"):
            cells = [cell.strip(" |") for cell in re.split(r"(?<!\\) \| ", line)]
            neutral = cells[heads.index("neutral")]
            assert neutral.startswith("`{") or (neutral == "-" and family in reasons), line
            assert family not in counted or cells[heads.index("extra network calls")], line
            seen.add(family)
    assert seen == {*families(core_components()), "option"}


@pytest.mark.parametrize(
    ("system", "kind"),
    [
        ("DDBM", "bridge"),
        ("RePaint", "resample"),
        ("SAG", "self-attention"),
        ("sag", "self-attention"),
        ("2410.02416", "projected"),
        ("2410.02416v2", "projected"),
        ("arXiv:2410.02416", "projected"),
    ],
)
def test_a_published_system_finds_its_methods(system: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    methods(system)
    told = capsys.readouterr().out
    assert kind in [line.split()[1] for line in told.splitlines()]
    assert len(told.splitlines()) <= 3, "a word within another is none"


def test_one_way_of_a_system_finds_the_system() -> None:
    """As papers and our own pages write it."""
    found = {node.kind for node, _ in expressing("DPM-Solver++(2M)", core_components())}
    assert found == {"dpm++2m", "dpm++3m", "dpm-solver", "sde-dpm++"}


def test_what_is_no_system_is_no_method() -> None:
    assert not expressing("nosuchthing", core_components())
    for name in ("nosuchthing", "Stable Diffusion 1.5", "No-such 2.0 (large)"):
        with pytest.raises(ValueError, match=re.escape(f"there is no method, family or plugin '{name}'")):
            methods(name)
    with pytest.raises(ValueError, match="no installed plugin provides 'mine'"):
        methods("mine.grid")


def test_options_that_hold_options_are_told_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """Where they are, and by themselves."""
    text = told(Components(core_components()).find("guidance", "classifier-free"))
    for piece in ("such as: {shape: cosine}", "one of: linear, cosine, power", "`anylatent methods rule` lists them"):
        assert piece in text, text
    assert "one of: midpoint, heun, ralston" in told(Components(core_components()).find("solver", "runge-kutta"))
    assert "such as: [{low: 0.1, high: 0.5, repeats: 1}]" in told(Components(core_components()).find("schedule", "restart"))
    for option in all_parts(core_components()):
        methods(option)
        assert f"option {option} (of " in capsys.readouterr().out
    methods("annealing")
    assert "example: {annealing: {shape: cosine}}" in capsys.readouterr().out


def _family(node: type[Node]) -> type[Node]:
    return next(base for base in reversed(node.__mro__) if issubclass(base, Node) and base.family == node.family and not base.kind)
