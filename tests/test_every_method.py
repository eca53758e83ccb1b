"""Each method of core on each modality, and that the page which says so is up to date."""

import math
from collections.abc import Mapping

import pytest
from every_method import (
    CHANGING,
    IDLE,
    PAGE,
    RECIPES,
    SAMPLING,
    STEPS,
    TRAINING,
    Case,
    Method,
    Refused,
    case_of,
    case_on,
    known_of,
    made_by,
    method,
    methods,
    neutral,
    path_of,
    sampled,
    verdict,
)  # fmt: skip

from anylatent.best_of import BestOf
from anylatent.catalogue import PERCEPTION, reckoned
from anylatent.components import core_components
from anylatent.corrections.mmps import MMPS
from anylatent.editing.translate import Translate
from anylatent.guidance.compose import Compose
from anylatent.guidance.per_condition import PerCondition
from anylatent.guidance.reflection import Reflection
from anylatent.guidance.windows import Windows
from anylatent.guidance.without_streams import WithoutStreams
from anylatent.joint.editing import GivenParts
from anylatent.metrics.denoiser_knows import DiffusionClassifier
from anylatent.node import Node
from anylatent.schedules import Schedule
from anylatent.schedules.tokens import Pyramid
from anylatent.solvers.base import Solver
from anylatent.solvers.value_search import ValueSearch
from anylatent.state import Receipt

NEUTRAL = [
    node
    for node in (*core_components(), BestOf)
    if node.neutral is not None and (node.family in (*SAMPLING, *TRAINING) or node is BestOf) and not node.python_only
]
METHODS = [node for nodes in methods().values() for node in nodes]
COSTING = [each for family in SAMPLING if family not in ("path", "measurement", "energy") for each in methods()[family]]
"""Those that say what they cost: paths cost nothing, a measurement or an energy what the method costs that it is a part of."""
SAYING = (Compose, Windows, Reflection, PerCondition, ValueSearch, Pyramid, Translate, MMPS, BestOf, DiffusionClassifier)
"""Those whose costs are not a number: tried in every run of the tests, the others in the slow ones."""
SAID = {
    tuple(cell.strip(" `") for cell in line.split("|")[1].split(" `")): [cell.strip() for cell in line.split("|")[2:-1]]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and "`" in line
}
HEADER = [name.strip() for line in PAGE.read_text().splitlines() if line.startswith("| method") for name in line.split("|")[2:-1]]
REASONS = {line.split(". ")[0]: line.split(". ", 1)[1] for line in PAGE.read_text().splitlines() if line[:1].isdigit() and ". " in line}


OFTEN = {"image", "joint"}
"""A grid; several streams of unlike kinds: the others are tried in the slow tests, and by pairs in every run."""


@pytest.mark.parametrize("modality", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in RECIPES])
def test_every_method_works_as_the_page_says(modality: str) -> None:
    """One test a modality, because its data and tokenizer are made once."""
    column = HEADER.index(modality)
    for node in METHODS:
        cell = SAID[node.family, node.kind][column]
        said = "works" if cell == "✓" else f"refused: {REASONS[cell]}"
        assert verdict(modality, node) == said, f"{node.family} {node.kind}: python tests/every_method.py writes the page again"


@pytest.mark.parametrize("node", NEUTRAL, ids=lambda node: f"{node.family or 'option'}-{node.kind or 'best_of'}")
def test_neutral_is_exact(node: type[Node]) -> None:
    """On the first modality that does not refuse it."""
    refused = []
    for modality in ("image", "joint", "audio"):
        try:
            return neutral(modality, node)
        except Refused as refusal:
            refused.append(str(refusal))
    raise AssertionError(f"refused everywhere: {refused}")


def test_the_page_is_of_all_methods_and_modalities() -> None:
    assert list(RECIPES) == HEADER, "python tests/every_method.py writes the page again"
    assert set(SAID) == {(node.family, node.kind) for node in METHODS}, "python tests/every_method.py writes the page again"


def test_nothing_is_refused_everywhere() -> None:
    for said, cells in SAID.items():
        assert "✓" in cells, f"{said} works nowhere"


def test_given_tokens_come_back_and_edits_decode() -> None:
    """The laws that a trial holds methods to can fail: a hook that changes nothing is found out."""
    assert len(case_of("joint").tokenizer.decode(sampled("joint", method("editor", "masked-completion")))) == 3
    cache = method("hook", "residual-cache")
    assert cache.family in CHANGING
    assert cache.kind not in IDLE
    with pytest.raises(AssertionError, match="residual-cache did nothing"):
        sampled("image", Method("hook", cache.kind, cache.node, settings={"threshold": 0.0}))


def test_an_example_suits_where_it_is_tried() -> None:
    """By the modality's own axes, streams and conditions, of which there are two values or more."""
    for modality in RECIPES:
        case = case_of(modality)
        windows = method("guidance", "windows").on(case).windows
        assert [window.axis for window in windows] == list(case.stage.axes)[-1:]
        assert all(window.size < case.stage.axes[window.axis][0] * case.stage.axes[window.axis][1] for window in windows), "one window"
        entries = method("guidance", "compose").on(case).entries
        assert entries[0].ask != entries[1].ask
        assert set(entries[0].ask) <= set(case.recipe.conditions)


def test_a_bridge_is_tried_between_two_streams() -> None:
    """Of tokens that are made and of the same ones, given: what the denoiser sees at time 1 is the source."""
    bridge = method("path", "bridge")
    path = path_of("image", {"path": bridge})
    case = case_on("image", path)
    assert {spec.name: spec.given for spec in case.tokenizer.specs} == {"made": False, "source": True}
    assert case.denoiser(path).path("made").partner() == "source"
    made = sampled("image", bridge)
    assert made["source"].keep.all()
    assert not made["made"].values.equal(made["source"].values)


@pytest.mark.parametrize(
    "tried",
    [each if each.node in SAYING else pytest.param(each, marks=pytest.mark.slow) for each in COSTING],
    ids=lambda each: f"{each.family}-{each.kind}".replace(": ", "-"),
)
def test_what_a_method_says_that_it_costs_is_what_a_run_counts(tried: Method) -> None:
    """The most that a row is counted with it, beyond what it is without it: network calls and gradients."""
    modality = "joint" if tried.node in (WithoutStreams, GivenParts) else "image"
    chosen = {tried.family: tried}
    path = path_of(modality, chosen)
    case = case_on(modality, path)
    node = tried.on(case)
    if node.kind in PERCEPTION and tried.family == "perception":
        calls: list[int] = []
        denoiser = case.denoiser(path)
        handle = denoiser.register_forward_hook(lambda *given: calls.append(1))
        known_of(case, denoiser, node, [0])
        handle.remove()
        assert len(calls) == reckoned(node, "network_calls", classes=len(case.stage.conditions[case.stage.condition]))
        return
    (_, done), (_, plain) = (made_by(case, path, chosen, [0, 1, 2], left_out=out) for out in ("", tried.family))
    for what in ("network_calls", "gradients"):
        before, most = most_of(plain, what), most_of(done, what)
        if isinstance(node, Solver) and not node.calls:
            assert (node.costs[what] if what == "network_calls" else "needed") == "needed"
            continue
        each = reckoned(node, what, **quantities(case, path, node))
        if isinstance(node, Solver):  # a step from pure noise, and one to t = 0, may need one question
            assert (STEPS - 2) * each <= most - before <= STEPS * each
        elif isinstance(node, BestOf):
            assert most == before * (1 + each)
        elif tried.family == "annealing":  # rows are not asked where it is 0
            assert most <= before
        else:
            assert most - before == each * (1 if tried.family in ("schedule", "editor") else STEPS), what


def most_of(done: Mapping[str, Receipt], what: str) -> float:
    """The most of any row, over what all methods say."""
    rows = {row for receipt in done.values() for row in receipt.rows}
    return max(sum(receipt.rows.get(row, {}).get(what, 0) for receipt in done.values()) for row in rows)


def quantities(case: Case, path: object, node: Node) -> dict[str, float]:
    """What expressions of costs name besides options, reckoned here."""
    found: dict[str, float] = {"steps": STEPS, "again": 0}
    (_, (_, steps)) = list(case.stage.axes.items())[-1]
    half = (steps + 1) // 2
    found["seen"] = math.ceil((steps - half) / (half - half // 2)) + 1
    if isinstance(node, Schedule):
        found["again"] = int((node.times(STEPS, path).diff() < 0).sum()) - STEPS
        _, (step, count) = next(iter(case.stage.axes.items()))
        found["blocks"] = math.floor((count - 1) * step / getattr(node, "block", 1)) + 1
    if getattr(node, "resample", 1) > 1:
        found["again"] = (STEPS - node.jump) // node.jump * node.jump * (node.resample - 1)
    return found
