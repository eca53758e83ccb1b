"""How many of the samples differ from each other, and from the training set."""

from collections.abc import Iterable
from typing import Any

from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.intervals import wilson
from anylatent.modality import Modality


class Distinct(Metric, kind="distinct"):
    """`unique`: distinct identities over samples. `novel`: share of the distinct ones that no training sample is.

    What counts as the same is the modality's `identity`. Samples that have none are left out, and counted in the note.
    The floors are those of as many held-out real samples.
    """

    def compute(self, evidence: Evidence) -> list[Measure]:
        self.require(len(evidence.samples))
        ours = identities(evidence.modality, evidence.samples)
        train = set(identities(evidence.modality, (evidence.train[i].sample for i in range(len(evidence.train)))))
        real = identities(evidence.modality, (evidence.test[i].sample for i in range(min(len(evidence.test), len(evidence.samples)))))
        without = len(evidence.samples) - len(ours)
        note = f"{without} of {len(evidence.samples)} samples have no identity and are left out" if without else ""
        floors = (len(set(real)) / len(real), len(set(real) - train) / len(set(real))) if real else (None, None)
        fingerprint = evidence.train.fingerprint()
        return [
            share("unique", len(set(ours)), len(ours), floors[0], fingerprint, note),
            share("novel", len(set(ours) - train), len(set(ours)), floors[1], fingerprint, note),
        ]


def identities(modality: Modality, samples: Iterable[Any]) -> list[str]:
    """The identity of each sample that has one; the modality refuses the others with `ValueError`."""
    found = []
    for sample in samples:
        try:
            found.append(modality.identity(sample))
        except ValueError:
            continue
    return found


def share(name: str, part: int, n: int, floor: float | None, fingerprint: str, note: str) -> Measure:
    """A proportion that is better the higher, with its Wilson interval; of no samples: 0, and anything is possible."""
    if n == 0:
        return Measure(name, 0.0, 0.0, 1.0, 0, "higher", floor, fingerprint, note)
    low, high = wilson(part, n)
    return Measure(name, part / n, low, high, n, "higher", floor, fingerprint, note)
