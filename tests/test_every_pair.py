"""Pairs of methods are as the table says: some in every run of the tests, all in the slow ones."""

from itertools import islice

import pytest
from every_method import methods
from every_pair import PAGE, TABLE, asked_of, covering, name, page, pairs, table, tried

from anylatent.guidance.compose import Compose


def test_a_cover_of_pairs_is_as_the_table_says() -> None:
    """A third of it, spread over the families; the slow tests try every pair."""
    said = table()
    for a, b in islice(covering(), 0, None, 3):
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
    assert {each for pair in covering() for each in asked_of(*pair)} == {each for pair in pairs() for each in asked_of(*pair)}
    met = {(each.family, each.kind) for pair in covering() for each in pair}
    paired = {(each.family, each.kind) for pair in pairs() for each in pair}
    assert met == paired
    alone = {(each.family, each.kind) for own in methods().values() for each in own if each.variation and each.node is not Compose}
    assert paired == {(each.family, each.kind) for own in methods().values() for each in own} - alone
