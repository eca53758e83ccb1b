"""Every pair of methods of families that meet, tried: `python tests/every_pair.py` writes `docs/methods/pairs.tsv` and `pairs.md`.

As in `every_method`, with two methods at once, on a modality that their names choose among those where both work.
"""

import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import combinations

from every_method import RECIPES, ROOT, TRAINING, Method, methods, verdict

from anylatent.corrections.posterior import Consistent
from anylatent.guidance.compose import Compose
from anylatent.guidance.contrast import Contrast
from anylatent.guidance.timed import Timed
from anylatent.solvers.value_search import ValueSearch

TABLE, PAGE = ROOT / "docs" / "methods" / "pairs.tsv", ROOT / "docs" / "methods" / "pairs.md"
HEADER = "family\tkind\tfamily\tkind\ttried on\tverdict"


SAMPLED = ("path", "schedule", "solver", "guidance", "hook", "correction", "editor", "denoiser")
"""Families that a request can have one of each of: each meets each."""
MEETINGS = (
    *combinations(SAMPLED, 2), *combinations(TRAINING, 2), *(("denoiser", family) for family in TRAINING if family != "path"),
    *((family, "best_of") for family in SAMPLED),
    ("path", "rule"), ("solver", "rule"), ("guidance", "rule"), ("guidance", "annealing"),
    ("path", "measurement"), ("correction", "measurement"), ("solver", "energy"),
    ("best_of", "energy"), ("path", "perception"), ("denoiser", "perception"),
)  # fmt: skip
"""The families that meet: what is a part of another method meets those that have such a part, and what it goes by itself."""
PARTS = {
    ("guidance", "rule"): Contrast,
    ("guidance", "annealing"): Timed,
    ("correction", "measurement"): Consistent,
    ("solver", "energy"): ValueSearch,
}
"""What has a method of the second family in it."""
UNPAIRED = (
    "What is not paired, and why: a part of another method (a rule, an annealing, a measurement, an energy) meets the methods that have",
    "such a part, and the paths and solvers that it goes by; beyond those it is that method. Variations of a method are tried alone, but",
    "for what `compose` makes of its entries, which goes by paths, schedules and solvers. How a denoiser was trained no method of sampling",
    "knows: training and sampling meet in the path and in self-conditioning. What a denoiser knows of given samples meets those two.",
)


@cache
def pairs() -> list[tuple[Method, Method]]:
    """Every pair of methods of families that meet."""
    found = {name(a, b): (a, b) for first, second in MEETINGS for a in methods()[first] for b in methods()[second] if _meet(a, b)}
    return list(found.values())


def _meet(a: Method, b: Method) -> bool:
    varied = [(each, other) for each, other in ((a, b), (b, a)) if each.variation]
    if any(each.node is not Compose or other.family not in ("path", "schedule", "solver") for each, other in varied):
        return False
    return issubclass(a.node, PARTS.get((a.family, b.family), a.node))


def covering() -> Iterator[tuple[Method, Method]]:
    """A few of them, in which each method meets what `asked_of` says: a greedy cover."""
    needed = {each for pair in pairs() for each in asked_of(*pair)}
    order = sorted(pairs(), key=lambda pair: zlib.crc32(name(*pair).encode()))
    for least in (2, 1):
        for a, b in order:
            gain = asked_of(a, b) & needed
            if len(gain) >= least:
                needed -= gain
                yield a, b


def asked_of(a: Method, b: Method) -> set[tuple[str, str, str]]:
    """What a cover has by this pair: a method with some of each family that each meets, a part or a variation with some method."""
    whole = {*SAMPLED, *TRAINING}
    both = not (a.variation or b.variation) and {a.family, b.family} <= whole
    return {
        (each.family, each.kind, other.family if both else "")
        for each, other in ((a, b), (b, a))
        if both or each.variation or each.family not in whole
    }


def name(a: Method, b: Method) -> str:
    return f"{a.family} {a.kind} + {b.family} {b.kind}"


def modality_of(a: Method, b: Method) -> str:
    """Which modality a pair is tried on: spread evenly, the same each time."""
    names = sorted(RECIPES)
    first = zlib.crc32(name(a, b).encode()) % len(names)
    order = [*names[first:], *names[:first]]
    both = (modality for modality in order if suits(a, modality) and suits(b, modality))
    return next(both, next((modality for modality in order if suits(b, modality)), order[0]))


def suits(node: Method, modality: str) -> bool:
    """Whether a method by itself works there: what is about several streams, an axis or a condition does not everywhere."""
    return _suits(node.family, node.kind, modality)


@cache
def _suits(family: str, kind: str, modality: str) -> bool:
    node = next(node for node in methods()[family] if node.kind == kind)
    try:
        return verdict(modality, node) == "works"
    except AssertionError:  # the trial of the pair will say it too
        return True


def tried(a: Method, b: Method, modality: str = "") -> str:
    """What is so of a pair. Errors: `AssertionError` where a law is broken, a method does nothing, or a refusal names neither."""
    said = verdict(modality or modality_of(a, b), a, b)
    assert said == "works" or any(each.name in said for each in (a, b)), f"{name(a, b)} is refused without a name: {said}"
    return said


def line(a: Method, b: Method) -> str:
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
        "Made by `python tests/every_pair.py`, which tries each pair of methods of families that meet on tiny networks, on a modality that",
        "their names choose; each line is in [pairs.tsv](pairs.tsv). There is no third answer: a pair works, held to the laws that each",
        "method is held to, or the program refuses it by name before anything is made.",
        "",
        *UNPAIRED,
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
