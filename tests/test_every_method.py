"""Each method of core on each modality, and that the page which says so is up to date."""

import pytest
from every_method import CHANGING, IDLE, OF_A_FILE, PAGE, RECIPES, SAMPLING, TRAINING, Refused, case_of, methods, neutral, sampled, verdict

from anylatent.components import core_components
from anylatent.node import Node

NEUTRAL = [
    node
    for node in core_components()
    if node.neutral is not None and node.family in (*SAMPLING, *TRAINING) and not node.python_only and node.kind not in OF_A_FILE
]
METHODS = [node for nodes in methods().values() for node in nodes]
SAID = {
    tuple(cell.strip(" `") for cell in line.split("|")[1].split(" `")): [cell.strip() for cell in line.split("|")[2:-1]]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and "`" in line
}
HEADER = [name.strip() for line in PAGE.read_text().splitlines() if line.startswith("| method") for name in line.split("|")[2:-1]]
REASONS = {line.split(". ")[0]: line.split(". ", 1)[1] for line in PAGE.read_text().splitlines() if line[:1].isdigit() and ". " in line}


@pytest.mark.parametrize("modality", RECIPES)
def test_every_method_works_as_the_page_says(modality: str) -> None:
    """One test a modality, because its data and tokenizer are made once."""
    column = HEADER.index(modality)
    for node in METHODS:
        cell = SAID[node.family, node.kind][column]
        said = "works" if cell == "✓" else f"refused: {REASONS[cell]}"
        assert verdict(modality, node) == said, f"{node.family} {node.kind}: python tests/every_method.py writes the page again"


@pytest.mark.parametrize("node", NEUTRAL, ids=lambda node: f"{node.family}-{node.kind}")
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
    for method, cells in SAID.items():
        assert "✓" in cells, f"{method} works nowhere"


def test_given_tokens_come_back_and_edits_decode() -> None:
    """The laws that a trial holds methods to can fail: a hook that changes nothing is found out."""
    masked = next(node for node in methods()["editor"] if node.kind == "masked-completion")
    assert len(case_of("joint").tokenizer.decode(sampled("joint", masked))) == 3
    cache = next(node for node in methods()["hook"] if node.kind == "residual-cache")
    assert cache.family in CHANGING
    assert cache.kind not in IDLE
    with pytest.raises(AssertionError, match="residual-cache did nothing"):
        sampled("image", cache.model_copy(update={"threshold": 0.0}))
