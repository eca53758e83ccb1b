"""The Fréchet distance between two sets of feature vectors."""

from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Features, Measure, Metric
from anylatent.metrics.intervals import bootstrap
from anylatent.metrics.reference import compare
from anylatent.types import Float, Tensor


class Frechet(Metric, kind="frechet"):
    """Squared Fréchet distance of the Gaussians that fit generated and real features (Heusel et al. 2017, 1706.08500, eq. 6).

    Biased upward at finite n, by an amount that depends on n and the model (Chong & Forsyth 2020, 1911.07023): compare
    only with numbers of the same n, and with `floor`: as many real samples against the same reference.
    """

    min_n: ClassVar[int] = 10

    features: Features = Field(description="Where distances are measured: a plugin's network, or `flat`.")
    limit: int = Field(default=20_000, ge=20, description="Real samples to use at most.")
    rounds: int = Field(default=100, ge=20, description="Bootstrap rounds of the interval.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        self.require(len(evidence.samples))
        sets = compare(self.features, evidence, self.min_n, self.limit)
        value = frechet_distance(sets.generated, sets.reference)
        below, above = bootstrap(frechet_distance, (sets.generated, sets.reference), evidence.seed, self.rounds)
        n, width = sets.generated.shape
        few = f"; fewer samples than the {width} features: the covariance is singular, ask for more" if n <= width else ""
        return [
            Measure(
                "frechet", value, max(0.0, value - below), value + above, n, "lower",
                floor=frechet_distance(sets.probe, sets.reference), fingerprint=sets.fingerprint,
                note=f"{sets.note}; biased upward, the less the more samples{few}",
            )
        ]  # fmt: skip


def frechet_distance(a: Float[Tensor, "n features"], b: Float[Tensor, "m features"]) -> float:
    """|mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), with unbiased covariances C (Dowson & Landau 1982).

    tr (C_a C_b)^(1/2) is taken as tr (R C_b R)^(1/2) with R = C_a^(1/2): symmetric, so no complex roots appear.
    """
    cov_a, cov_b = torch.atleast_2d(a.T.cov()), torch.atleast_2d(b.T.cov())
    root = _root(cov_a)
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    between = (a.mean(0) - b.mean(0)).square().sum()
    return max(0.0, float(between + cov_a.trace() + cov_b.trace() - 2 * cross))


def _root(cov: Float[Tensor, "features features"]) -> Float[Tensor, "features features"]:
    """The symmetric square root of a positive semidefinite matrix; eigenvalues below 0 are rounding."""
    values, vectors = torch.linalg.eigh(cov)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
