"""Every pair of methods of different families, tried: `python tests/every_pair.py` writes `docs/methods/pairs.tsv` and `pairs.md`.

As in `every_method`, with two methods at once, on a modality that their names choose among those where both work.
"""

import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import combinations

from every_method import RECIPES, ROOT, SAMPLING, TRAINING, methods, verdict

from anylatent.node import Node

TABLE, PAGE = ROOT / "docs" / "methods" / "pairs.tsv", ROOT / "docs" / "methods" / "pairs.md"
HEADER = "family\tkind\tfamily\tkind\ttried on\tverdict"


@cache
def pairs() -> list[tuple[Node, Node]]:
    """Every pair of different families that meet: in sampling, or in training."""
    found: dict[str, tuple[Node, Node]] = {}
    for families in (SAMPLING, TRAINING):
        for first, second in combinations(families, 2):
            for a in methods().get(first, []):
                for b in methods().get(second, []):
                    found.setdefault(name(a, b), (a, b))
    return list(found.values())


def covering() -> Iterator[tuple[Node, Node]]:
    """A few of them, in which each method meets a method of each other family at least once: a greedy cover."""
    needed = {(node.family, node.kind, other) for a, b in pairs() for node, other in ((a, b.family), (b, a.family))}
    order = sorted(pairs(), key=lambda pair: zlib.crc32(name(*pair).encode()))
    for least in (2, 1):
        for a, b in order:
            gain = {(a.family, a.kind, b.family), (b.family, b.kind, a.family)} & needed
            if len(gain) >= least:
                needed -= gain
                yield a, b


def name(a: Node, b: Node) -> str:
    return f"{a.family} {a.kind} + {b.family} {b.kind}"


def modality_of(a: Node, b: Node) -> str:
    """Which modality a pair is tried on: spread evenly, the same each time."""
    names = sorted(RECIPES)
    first = zlib.crc32(name(a, b).encode()) % len(names)
    order = [*names[first:], *names[:first]]
    both = (modality for modality in order if suits(a, modality) and suits(b, modality))
    return next(both, next((modality for modality in order if suits(b, modality)), order[0]))


def suits(node: Node, modality: str) -> bool:
    """Whether a method by itself works there: what is about several streams, an axis or a condition does not everywhere."""
    return _suits(node.family, node.kind, modality)


@cache
def _suits(family: str, kind: str, modality: str) -> bool:
    node = next(node for node in methods()[family] if node.kind == kind)
    try:
        return verdict(modality, node) == "works"
    except AssertionError:  # the trial of the pair will say it too
        return True


def tried(a: Node, b: Node, modality: str = "") -> str:
    """What is so of a pair. Errors: `AssertionError` where a law is broken, a method does nothing, or a refusal names neither."""
    said = verdict(modality or modality_of(a, b), a, b)
    assert said == "works" or any(node.kind in said for node in (a, b)), f"{name(a, b)} is refused without a name: {said}"
    return said


def line(a: Node, b: Node) -> str:
    return "\t".join((a.family, a.kind, b.family, b.kind, modality_of(a, b), tried(a, b)))


def table() -> Mapping[str, tuple[str, str]]:
    """What the written table says of each pair: the modality that it was tried on, and what was so."""
    lines = [line.split("\t") for line in TABLE.read_text().splitlines()[1:]]
    return {f"{a} {b} + {c} {d}": (modality, verdict) for a, b, c, d, modality, verdict in lines}


def page(lines: list[str]) -> str:
    """The table's refusals by reason, in Markdown."""
    cells = [line.split("\t") for line in lines]
    count = Counter((cell[0], cell[2]) for cell in cells)
    works = Counter((cell[0], cell[2]) for cell in cells if cell[5] == "works")
    out = [
        "# Every pair of methods",
        "",
        "Made by `python tests/every_pair.py`, which tries each pair of methods of different families on tiny networks, on a modality that",
        "their names choose; each line is in [pairs.tsv](pairs.tsv). There is no third answer: a pair works, held to the laws that each",
        "method is held to, or the program refuses it by name before anything is made.",
        "",
        "| families | pairs | work | refused |",
        "|---|---|---|---|",
        *(f"| {a} × {b} | {n} | {works[a, b]} | {n - works[a, b]} |" for (a, b), n in count.items()),
        f"| all | {len(cells)} | {sum(works.values())} | {len(cells) - sum(works.values())} |",
        "",
        "## Refused",
        "",
    ]
    reasons: dict[str, list[str]] = {}
    for a, b, c, d, _, said in cells:
        if said != "works":
            reasons.setdefault(said.removeprefix("refused: "), []).append(f"{a} `{b}` + {c} `{d}`")
    out += [f"- {reason}: {', '.join(which)}" for reason, which in sorted(reasons.items())]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    warnings.simplefilter("error")
    found = []
    for a, b in pairs():
        try:
            found.append(line(a, b))
        except Exception as error:
            print(f"{name(a, b)} on {modality_of(a, b)}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    TABLE.write_text("\n".join([HEADER, *found]) + "\n")
    PAGE.write_text(page(found))
