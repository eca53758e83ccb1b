import torch
from hypothesis import given
from hypothesis import strategies as st

from anylatent import random
from anylatent.random import normal, philox, seed_of, uniform


def _words(value: int) -> torch.Tensor:
    return torch.full((1,), value, dtype=torch.int64)


def test_philox_gives_the_published_answers() -> None:
    """Known-answer vectors of Random123 (Salmon et al. 2011) for philox4x32-10."""
    zero, ones = _words(0), _words(0xFFFFFFFF)
    assert [int(w) for w in philox((zero,) * 4, (zero,) * 2)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert [int(w) for w in philox((ones,) * 4, (ones,) * 2)] == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = [_words(w) for w in (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)]
    assert [int(w) for w in philox(tuple(pi[:4]), tuple(pi[4:]))] == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


@given(seed=st.integers(0, 2**63 - 1), tokens=st.integers(1, 9), more=st.integers(0, 9), width=st.integers(1, 5), rows=st.integers(1, 5))
def test_a_row_is_the_same_in_any_batch_and_with_any_padding(seed: int, tokens: int, more: int, width: int, rows: int) -> None:
    alone = normal(torch.tensor([seed]), "s", 3, 1, tokens, width)
    seeds = torch.tensor([*range(rows), seed])
    together = normal(seeds, "s", torch.tensor([*range(rows), 3]), 1, tokens + more, width)
    assert torch.equal(together[-1:, :tokens], alone)


def test_everything_in_the_address_matters() -> None:
    seeds = torch.tensor([0, 1])
    base = normal(seeds, "s", 0, 0, 4, 3)
    others = [
        normal(seeds + 5, "s", 0, 0, 4, 3),
        normal(seeds, "other", 0, 0, 4, 3),
        normal(seeds, "s", 1, 0, 4, 3),
        normal(seeds, "s", 0, 1, 4, 3),
    ]
    assert all((other != base).all() for other in others)
    assert (base[0] != base[1]).all()
    assert torch.equal(normal(seeds, "s", -1, 0, 4, 3), normal(seeds, "s", torch.tensor([-1, -1]), 0, 4, 3))


def test_the_distributions_are_what_they_say() -> None:
    x = normal(torch.arange(200), "s", 0, 0, 100, 10).flatten()
    assert abs(float(x.mean())) < 4 / len(x) ** 0.5
    assert abs(float(x.var()) - 1) < 4 * (2 / len(x)) ** 0.5
    assert abs(float((x**4).mean()) - 3) < 0.15
    u = uniform(torch.arange(200), "s", 0, 0, 1000).flatten()
    assert 0 < float(u.min()) < float(u.max()) < 1
    counts = torch.histc(u, 20, 0, 1)
    assert ((counts - len(u) / 20).abs() < 5 * (len(u) / 20) ** 0.5).all()
    neighbours = torch.corrcoef(torch.stack((x[:-1], x[1:])))[0, 1]
    assert abs(float(neighbours)) < 5 / len(x) ** 0.5


def test_seeds_are_stable() -> None:
    assert seed_of("rows", 0) == seed_of("rows", 0) != seed_of("rows", 1)
    assert seed_of("a", "b") != seed_of("ab")
    assert 0 <= random.seed_of("x") < 2**63
