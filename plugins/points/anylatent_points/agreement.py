"""Are clouds what they were asked to be?"""

from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.intervals import mean_interval, wilson
from anylatent_points.distances import between, thinned


class CategoryAgreement(Metric, kind="points.category"):
    """The share of samples whose nearest training cloud (Chamfer) is of the category that was asked for.

    The floor is that share of held-out clouds: how well the nearest neighbour tells categories apart.
    """

    min_n: ClassVar[int] = 5

    condition: str = Field(default="category", description="Which condition says what a cloud is.")
    limit: int = Field(default=300, ge=10, description="Training clouds to look through.")
    points: int = Field(default=64, ge=8, description="Points of a cloud that are compared, chosen evenly.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        """One measure. Errors: `TooFewSamples`; `ValueError` if no sample was asked to be of a category."""
        self.require(len(evidence.samples))
        train = [evidence.train[i] for i in range(min(self.limit, len(evidence.train)))]
        kinds = [record.conditions.get(self.condition) for record in train]
        known = thinned([record.sample.points for record in train], self.points)
        asked = [(sample.points, row[self.condition]) for sample, row in zip(evidence.samples, evidence.asked) if self.condition in row]
        if not asked:
            raise ValueError(f"{self.kind} judges samples by the condition '{self.condition}', which none of them was asked for")
        held_out = [evidence.test[i] for i in range(min(len(evidence.test), len(asked)))]
        floor = self._right([(r.sample.points, r.conditions.get(self.condition)) for r in held_out], known, kinds)
        hits = self._right(asked, known, kinds)
        low, high = wilson(sum(hits), len(hits))
        note = f"the nearest of {len(train)} training clouds, {self.points} points each"
        fingerprint = f"{evidence.train.fingerprint()}:{self.key()}"
        share = sum(hits) / len(hits)
        return [
            Measure(
                "category",
                share,
                min(low, share),
                max(high, share),
                len(hits),
                "higher",
                sum(floor) / max(1, len(floor)),
                fingerprint,
                note,
            )
        ]

    def _right(self, asked, known, kinds) -> list[bool]:
        nearest = between(thinned([points for points, _ in asked], self.points), known, "chamfer").argmin(1).tolist()
        return [kinds[index] == kind for index, (_, kind) in zip(nearest, asked, strict=True)]


class ExtentError(Metric, kind="points.extent"):
    """How far the box around a sample is from the one that was asked for: mean over width, depth and height, in half diagonals.

    `shuffled`: the same against the boxes that other samples were asked for, the control that ignoring them would reach.
    """

    min_n: ClassVar[int] = 5

    condition: str = Field(default="extent", description="Which condition holds width, depth, height.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        """Two measures. Errors: `TooFewSamples`; `ValueError` if no sample was asked for a box."""
        self.require(len(evidence.samples))
        pairs = [(sample, row[self.condition]) for sample, row in zip(evidence.samples, evidence.asked) if self.condition in row]
        if len(pairs) < 2:
            raise ValueError(f"{self.kind} judges samples by the condition '{self.condition}', which none of them was asked for")
        made = torch.stack([sample.points.amax(0) - sample.points.amin(0) for sample, _ in pairs])
        asked = torch.tensor([box for _, box in pairs])
        errors = (made - asked).abs().mean(1).sort().values
        others = torch.cdist(made, asked, p=1) / 3
        # The mean over all other samples: no shuffle to draw, and the order of samples does not matter.
        control = ((others.sum(1) - others.diagonal()) / (len(pairs) - 1)).sort().values
        return [self._measure("extent-error", errors, evidence.seed), self._measure("extent-error of shuffled", control, evidence.seed)]

    def _measure(self, name: str, errors, seed: int) -> Measure:
        low, high = mean_interval(errors, seed)
        note = "mean absolute difference of the boxes' sides; half the box's diagonal is 1"
        return Measure(name, float(errors.mean()), low, high, len(errors), "lower", 0.0, "", note)
