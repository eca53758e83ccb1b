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
        count = len(valid(evidence.samples))
        low, high = wilson(count, len(evidence.samples))
        return [
            Measure(
                "valid",
                count / len(evidence.samples),
                low,
                high,
                len(evidence.samples),
                "higher",
                floor=1.0,
                note=_reasons(evidence.samples),
            )
        ]


def valid(samples: Sequence[Molecule]) -> list[Molecule]:
    return [sample for sample in samples if sample.valid]


def left_out(samples: Sequence[Molecule]) -> str:
    """A note on how many samples are not valid; empty if all are."""
    count = len(samples) - len(valid(samples))
    return f"{count} of {len(samples)} samples are not valid and are left out" if count else ""


def _reasons(samples: Sequence[Molecule]) -> str:
    """The commonest reason why samples are not valid, without the numbers in it."""
    reasons = Counter(
        "".join(c for c in sample.written.split(": ", 1)[-1][:80] if not c.isdigit()) for sample in samples if not sample.valid
    )
    return f"not valid most often: {reasons.most_common(1)[0][0]} ({reasons.most_common(1)[0][1]})" if reasons else ""
