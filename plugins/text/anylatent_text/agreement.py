"""Whether samples are what their captions say, for any modality that has features."""

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent.data import Dataset
from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Features, Measure, Metric, TooFewSamples
from anylatent.metrics.intervals import mean_interval, wilson
from anylatent.modality import Modality
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent_text.probe import Fit, Probe

_VERSION = 1
"""Raised when the same evidence would give other numbers."""
_LEAST_FIT = 100
"""Training records with captions, below which a probe learns nothing."""


class Agreement(Metric, kind="text.agreement"):
    """How well samples fit their captions, by a probe that learned from the training records which features go with which words.

    `caption agreement`: how often a sample fits its own caption better than one that was asked of another sample (chance: 50 %).
    `caption retrieval`: how often its own fits best among `among` captions. `caption similarity`: the probe's mean similarity, -1 to 1,
    and the same with shuffled captions (all pairs of other samples) as the control. The floors are those of held-out real records.
    Samples that are nothing (the modality gives them no identity) agree with no caption.
    """

    min_n: ClassVar[int] = 20

    features: Features = Field(description="What is seen of samples: a plugin's network, or `flat`.")
    condition: str = Field(default="caption", description="The condition that holds the caption.")
    among: int = Field(default=10, ge=2, description="Captions to choose from in retrieval (fewer if there are fewer different ones).")
    rank: int = Field(default=64, ge=1, description="Directions of features and of captions that the probe looks at.")
    limit: int = Field(default=2000, ge=_LEAST_FIT, description="Training records that the probe learns from at most, evenly spread.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        """Four measures. Errors: `TooFewSamples`; `ValueError` if samples were not asked by captions, or training records have none."""
        asked = [
            (sample, wanted[self.condition])
            for sample, wanted in zip(evidence.samples, evidence.asked, strict=True)
            if wanted.get(self.condition) is not None
        ]
        if not asked:
            raise ValueError(f"{self.kind} judges samples by the condition '{self.condition}', which none of them was asked for")
        self.require(len(asked))
        probe = self._probe(evidence)
        held_out = _captioned(evidence.test, self.condition, max(len(asked), 500))
        distinct = [len({text for _, text in pairs}) for pairs in (asked, held_out)]
        if distinct[0] < 2:
            raise ValueError(f"{self.kind} tells captions apart: all {len(asked)} samples were asked {asked[0][1]!r}")
        compared = len(held_out) >= self.min_n and distinct[1] >= 2
        among = min(self.among, *(distinct if compared else distinct[:1]))
        ours, lost = self._scored(asked, among, probe, evidence)
        real = self._scored(held_out, among, probe, evidence)[0] if compared else None
        return self._measures(ours, real, among, probe, lost, evidence)

    def _measures(self, ours: "Fit", real: "Fit | None", among: int, probe: "Probe", lost: int, evidence: Evidence) -> list[Measure]:
        note = f"{self.features.kind} features, {probe.note}" + (f"; {lost} samples are nothing and agree with no caption" if lost else "")
        digest = _digest(
            _VERSION, self.key(), self.features.fingerprint(evidence), evidence.train.fingerprint(), evidence.test.fingerprint()
        )

        measures = []
        for name, part, about in (
            ("caption agreement", "agreed", f"chance: 50 %; {note}"),
            ("caption retrieval", "found", f"among {among} captions, chance: {1 / among:.0%}; {note}"),
            ("caption similarity", "own", note),
            ("caption similarity, shuffled", "shuffled", "the control: each other's captions"),
        ):
            values, floor = getattr(ours, part), real and float(getattr(real, part).mean())
            value, n = float(values.mean()), len(values)
            # Of shares from 0 to 1 Wilson's interval is on the safe side, and no point where all are 1; a mean is drawn again.
            share = part in ("agreed", "found")
            low, high = wilson(round(float(values.sum())), n) if share else mean_interval(values.sort().values, evidence.seed)
            better = "neither" if part == "shuffled" else "higher"
            measures.append(Measure(name, value, min(low, value), max(high, value), n, better, floor, digest, about))
        return measures

    def _probe(self, evidence: Evidence) -> "Probe":
        from anylatent_text.probe import fit

        pairs = _captioned(evidence.train, self.condition, self.limit)
        if len(pairs) < _LEAST_FIT:
            raise TooFewSamples(
                f"{self.kind} learns from training records with the condition '{self.condition}': "
                f"needs at least {_LEAST_FIT}, there are {len(pairs)}"
            )
        vectors = self._vectors([sample for sample, _ in pairs], evidence)
        return fit(vectors, [text for _, text in pairs], self.rank)

    def _scored(self, pairs: Sequence[tuple[Any, str]], among: int, probe: "Probe", evidence: Evidence) -> tuple["Fit", int]:
        from anylatent_text.probe import Fit

        there = [_is_something(evidence.modality, sample) for sample, _ in pairs]
        texts = [text for _, text in pairs]
        scores = torch.full((len(pairs), len(pairs)), -math.inf, dtype=torch.float64)
        if any(there):
            vectors = self._vectors([sample for (sample, _), is_there in zip(pairs, there, strict=True) if is_there], evidence)
            scores[torch.tensor(there)] = probe.similarity(vectors, texts)
        return Fit.of(scores, texts, among), there.count(False)

    def _vectors(self, samples: Sequence[Any], evidence: Evidence) -> Float[Tensor, "samples features"]:
        from anylatent.metrics.reference import features_of

        return features_of(self.features, samples, evidence)


def _captioned(dataset: Dataset, condition: str, limit: int) -> list[tuple[Any, str]]:
    """Samples and captions of the records that have one; at most `limit`, evenly spread. Errors: `ValueError` for one that is no text."""
    told = []
    for index in range(len(dataset)):
        text = dataset.conditions(index).get(condition)
        if text is None:
            continue
        if not isinstance(text, str):
            raise ValueError(f"text.agreement needs texts, but the condition '{condition}' of record '{dataset[index].id}' is {text!r}")
        told.append((index, text))
    if len(told) > limit:
        told = [told[int(place)] for place in torch.linspace(0, len(told) - 1, limit, dtype=torch.float64).round()]
    return [(dataset[index].sample, text) for index, text in told]


def _is_something(modality: Modality, sample: Any) -> bool:
    try:
        modality.identity(sample)
    except ValueError:
        return False
    return True


def _digest(*parts: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()
