"""Pairs of methods are as the table says: some in every run of the tests, all in the slow ones."""

import pytest
from every_method import methods
from every_pair import PAGE, TABLE, covering, name, page, pairs, table, tried


def test_a_cover_of_pairs_is_as_the_table_says() -> None:
    said = table()
    for a, b in covering():
        modality, verdict = said[name(a, b)]
        assert tried(a, b, modality) == verdict, f"{name(a, b)}: python tests/every_pair.py writes the table again"


@pytest.mark.slow
def test_every_pair_is_as_the_table_says() -> None:
    said = table()
    for a, b in pairs():
        modality, verdict = said[name(a, b)]
        assert tried(a, b, modality) == verdict, f"{name(a, b)}: python tests/every_pair.py writes the table again"


def test_the_table_has_every_pair() -> None:
    assert set(table()) == {name(a, b) for a, b in pairs()}, "python tests/every_pair.py writes the table again"
    assert PAGE.read_text() == page(TABLE.read_text().splitlines()[1:])


def test_the_cover_is_one() -> None:
    met = {(a.family, a.kind, b.family) for a, b in covering()} | {(b.family, b.kind, a.family) for a, b in covering()}
    assert met == {(node.family, node.kind, other.family) for a, b in pairs() for node, other in ((a, b), (b, a))}
    assert {node.kind for nodes in methods().values() for node in nodes} <= {kind for _, kind, _ in met}
