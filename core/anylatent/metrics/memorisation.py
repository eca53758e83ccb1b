"""Are the samples new, or training samples again?"""

from typing import ClassVar

from pydantic import Field

from anylatent.data import Dataset
from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Features, Measure, Metric, TooFewSamples
from anylatent.metrics.intervals import bootstrap, wilson
from anylatent.metrics.neighbours import nearest
from anylatent.metrics.reference import features_of
from anylatent.types import Float, Tensor


class Memorisation(Metric, kind="memorisation"):
    """Distance to the nearest training sample in feature space, beside that of held-out real samples.

    `nearest-train-ratio`: mean distance of the samples over that of held-out ones; 1 if they are as new, 0 for copies
    (in the spirit of Meehan et al. 2020, 2004.05675). `copied`: share of samples that are as close to a training
    sample as the closest 1 % of held-out ones.
    """

    min_n: ClassVar[int] = 10

    features: Features = Field(description="Where distances are measured: a plugin's network, or `flat`.")
    quantile: float = Field(default=0.01, gt=0, lt=0.5, description="Held-out samples that count as too close.")
    limit: int = Field(default=100_000, ge=20, description="Training samples to look through at most.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        self.require(len(evidence.samples))
        if len(evidence.test) < self.min_n:
            raise TooFewSamples(f"memorisation needs at least {self.min_n} held-out samples, the test split has {len(evidence.test)}")
        train = features_of(self.features, _samples(evidence.train, self.limit), evidence)
        ours, _ = nearest(features_of(self.features, list(evidence.samples), evidence), train)
        held_out, _ = nearest(features_of(self.features, _samples(evidence.test, self.limit), evidence), train)
        if not held_out.any():
            raise ValueError(
                f"each held-out sample is a copy of a training sample in {self.features.kind} features: nothing to compare with; "
                "split the data so that they differ, or choose finer features"
            )
        seen = f"{len(train):,} training samples"
        if len(train) < len(evidence.train):
            seen += f" of {len(evidence.train):,}: copies of the others are not seen"
        note = f"on {self.features.kind} features: {len(ours):,} samples and {len(held_out):,} held-out ones against {seen}"
        fingerprint = f"{self.features.fingerprint(evidence)}:{evidence.train.fingerprint()}:{evidence.test.fingerprint()}"
        return [self._ratio(ours, held_out, evidence.seed, fingerprint, note), self._copied(ours, held_out, fingerprint, note)]

    def _ratio(self, ours: Tensor, held_out: Tensor, seed: int, fingerprint: str, note: str) -> Measure:
        value = distance_ratio(ours, held_out)
        below, above = bootstrap(distance_ratio, (ours, held_out), seed)
        return Measure("nearest-train-ratio", value, max(0.0, value - below), value + above, len(ours), "neither", 1.0, fingerprint, note)

    def _copied(self, ours: Tensor, held_out: Tensor, fingerprint: str, note: str) -> Measure:
        """The floor is the share of held-out samples under the threshold: more than the quantile if some are copies themselves."""
        close = held_out.quantile(self.quantile, interpolation="higher")
        copied = int((ours <= close).sum())
        low, high = wilson(copied, len(ours))
        floor = float((held_out <= close).double().mean())
        return Measure("copied", copied / len(ours), low, high, len(ours), "lower", floor, fingerprint, note)


def distance_ratio(ours: Float[Tensor, " n"], held_out: Float[Tensor, " m"]) -> float:
    """Mean over mean."""
    return float(ours.mean() / held_out.mean().clamp(min=1e-12))


def _samples(dataset: Dataset, limit: int) -> list:
    """Evenly spread over the data set if it is larger than `limit`."""
    count = min(limit, len(dataset))
    return [dataset[int(index)].sample for index in torch.linspace(0, len(dataset) - 1, count, dtype=torch.float64).round()]
