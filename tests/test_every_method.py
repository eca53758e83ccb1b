"""Each method of core on each modality, and that the page which says so is up to date."""

import pytest
from every_method import PAGE, RECIPES, case_of, methods, trials, try_out

METHODS = list(methods())


@pytest.mark.parametrize("modality", RECIPES)
def test_every_method_works(modality: str) -> None:
    """As `every_method` says; one test a modality, because its data and tokenizer are made once."""
    tried = {node.kind: [try_out(*trial) for trial in trials(modality, family, node)] for family, node in METHODS}
    idle = {kind for kind, states in tried.items() if not states}
    specs = case_of(modality).tokenizer.specs
    about_several = {"given-parts": sum(not spec.given for spec in specs), "without-streams": len(specs)}
    assert idle == {kind for kind, streams in about_several.items() if streams < 2}
    decoded = case_of(modality).tokenizer.decode(tried["masked-completion"][0])
    assert len(decoded) == 3


def test_the_page_names_every_method_and_modality() -> None:
    text = PAGE.read_text()
    header = next(line for line in text.splitlines() if line.startswith("| method"))
    assert [name.strip() for name in header.split("|")[2:-1]] == list(RECIPES), "python tests/every_method.py writes the page again"
    for family, node in METHODS:
        assert f"| {family.family} `{node.kind}` |" in text, "python tests/every_method.py writes the page again"
