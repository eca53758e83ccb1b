"""Fidelity and variety, apart: does each sample look real, and does each real one have a like?"""

from collections.abc import Callable
from typing import ClassVar, Literal

from pydantic import Field

from anylatent.metrics.base import Evidence, Features, Measure, Metric
from anylatent.metrics.intervals import mean_interval, wilson
from anylatent.metrics.neighbours import inside, radii
from anylatent.metrics.reference import Comparison, compare
from anylatent.types import Float, Tensor


class PrecisionRecall(Metric, kind="precision-recall"):
    """Improved precision and recall (Kynkäänniemi et al. 2019, 1904.06991, eq. 1 and 2), as many real as generated samples.

    A set's manifold is the union of balls around its points, each reaching to the k-th nearest of the same set.
    Precision: share of generated samples in the real manifold. Recall: share of real samples in the generated one.
    """

    min_n: ClassVar[int] = 10

    features: Features = Field(description="Where distances are measured: a plugin's network, or `flat`.")
    neighbours: int = Field(default=3, ge=1, le=9, description="k: which nearest neighbour a ball reaches to.")
    limit: int = Field(default=20_000, ge=20, description="Real samples to use at most.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        self.require(len(evidence.samples))
        sets = compare(self.features, evidence, self.min_n, self.limit, even=True)
        return [
            _share("precision", sets, lambda points: covered(points, sets.reference, self.neighbours)),
            _share("recall", sets, lambda points: covered(sets.reference, points, self.neighbours)),
        ]


class DensityCoverage(Metric, kind="density-coverage"):
    """Density and coverage (Naeem et al. 2020, 2002.09797, eq. 3 and 4): as precision and recall, less moved by outliers.

    Density: how many real balls hold a generated sample, over k; may exceed 1. Coverage: share of real balls that hold one.
    """

    min_n: ClassVar[int] = 10

    features: Features = Field(description="Where distances are measured: a plugin's network, or `flat`.")
    neighbours: int = Field(default=5, ge=1, le=9, description="k: which nearest neighbour a ball reaches to.")
    limit: int = Field(default=20_000, ge=20, description="Real samples to use at most.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        self.require(len(evidence.samples))
        sets = compare(self.features, evidence, self.min_n, self.limit, even=True)
        radius = radii(sets.reference, self.neighbours)

        def density(points: Tensor) -> Tensor:
            return inside(points, sets.reference, radius)[0].double() / self.neighbours

        each = density(sets.generated)
        low, high = mean_interval(each, evidence.seed)
        floor = float(density(sets.probe).mean())
        return [
            Measure("density", float(each.mean()), low, high, len(each), "higher", floor, sets.fingerprint, sets.note),
            _share("coverage", sets, lambda points: inside(points, sets.reference, radius)[1].double()),
        ]


def covered(points: Float[Tensor, "n features"], by: Float[Tensor, "m features"], k: int) -> Float[Tensor, " n"]:
    """1 for each point in the k-NN manifold of `by`, else 0."""
    return (inside(points, by, radii(by, k))[0] > 0).double()


def _share(name: Literal["precision", "recall", "coverage"], sets: Comparison, judge: Callable[[Tensor], Tensor]) -> Measure:
    """A proportion of `judge`'s zeros and ones on the generated samples, with real ones in their place as its floor."""
    hits = judge(sets.generated)
    low, high = wilson(int(hits.sum()), len(hits))
    return Measure(name, float(hits.mean()), low, high, len(hits), "higher", float(judge(sets.probe).mean()), sets.fingerprint, sets.note)
