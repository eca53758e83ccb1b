"""Byte-pair encoding of symbols (Sennrich et al. 2016, arXiv:1508.07909): what is often written together is one piece.

A benzene ring is eight SELFIES symbols and one piece. Sequences become three times shorter, and a ring cannot be half right.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

Pair = tuple[str, str]

LEAST = 4
"""A pair seen less often is not merged."""


def learn(words: Iterable[tuple[str, ...]], size: int) -> tuple[list[str], list[Pair]]:
    """The vocabulary (single symbols first, by frequency, then merged ones) of at most `size` pieces, and the merges in order.

    Single symbols are all kept, even if they are more than `size`; ties go to the first in alphabetical order.
    """
    texts = [list(word) for word in words]
    singles = Counter(symbol for text in texts for symbol in text)
    vocabulary = sorted(singles, key=lambda symbol: (-singles[symbol], symbol))
    merges: list[Pair] = []
    counts: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for at, text in enumerate(texts):
        for pair in itertools.pairwise(text):
            counts[pair] += 1
            where[pair].add(at)
    while len(vocabulary) < size and counts:
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < LEAST:
            break
        merges.append(best)
        if "".join(best) not in vocabulary:
            vocabulary.append("".join(best))
        for at in sorted(where.pop(best)):
            old, new = texts[at], _merged(texts[at], best)
            for pair in itertools.pairwise(old):
                counts[pair] -= 1
            for pair in itertools.pairwise(new):
                counts[pair] += 1
                where[pair].add(at)
            texts[at] = new
        counts = +counts
    return vocabulary, merges


def split(symbols: Sequence[str], ranks: Mapping[Pair, int]) -> list[str]:
    """The pieces of a sequence of symbols: merges applied in the order in which they were learned."""
    pieces = list(symbols)
    while len(pieces) > 1:
        best = min(itertools.pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        pieces = _merged(pieces, best)
    return pieces


def _merged(pieces: Sequence[str], pair: Pair) -> list[str]:
    out: list[str] = []
    at = 0
    while at < len(pieces):
        if tuple(pieces[at : at + 2]) == pair:
            out.append(pieces[at] + pieces[at + 1])
            at += 2
        else:
            out.append(pieces[at])
            at += 1
    return out
