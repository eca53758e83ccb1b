"""How many samples are molecules."""

from collections import Counter
from collections.abc import Sequence

from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.intervals import wilson
from anylatent_molecule.molecule import Molecule


class Validity(Metric, kind="molecule.validity"):
    """Share of samples that RDKit sanitises, in one connected part for 3D ones. Of SELFIES nearly all are, by construction.

    Which of the valid ones are unique and novel is the metric `distinct`, which leaves invalid samples out.
    """

    def compute(self, evidence: Evidence) -> list[Measure]:
        self.require(len(evidence.samples))
        n, count = len(evidence.samples), len(valid(evidence.samples))
        low, high = wilson(count, n)
        return [Measure("valid", count / n, low, high, n, "higher", floor=1.0, note=_reasons(evidence.samples))]


def valid(samples: Sequence[Molecule]) -> list[Molecule]:
    """Those that are molecules."""
    return [sample for sample in samples if sample.valid]


def left_out(samples: Sequence[Molecule]) -> str:
    """A note on how many samples are not valid; empty if all are."""
    count = len(samples) - len(valid(samples))
    return f"{count} of {len(samples)} samples are not valid and are left out" if count else ""


def _reasons(samples: Sequence[Molecule]) -> str:
    """The commonest reason why samples are not valid, without the numbers in it; empty if all are valid."""
    told = (sample.written.split(": ", 1)[-1][:80] for sample in samples if not sample.valid)
    counts = Counter("".join(letter for letter in reason if not letter.isdigit()) for reason in told)
    return "".join(f"not valid most often: {reason} ({count})" for reason, count in counts.most_common(1))
