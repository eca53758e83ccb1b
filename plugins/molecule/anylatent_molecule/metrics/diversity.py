"""How different molecules are from each other."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Measure, Metric, TooFewSamples
from anylatent.metrics.intervals import resamples
from anylatent.types import Float, Tensor
from anylatent_molecule.metrics.validity import left_out, valid
from anylatent_molecule.molecule import Molecule


class Diversity(Metric, kind="molecule.diversity"):
    """Internal diversity: 1 - mean Tanimoto similarity of all pairs of valid samples (Benhenda 2017, arXiv:1708.08227).

    On Morgan fingerprints of radius 2 and 1,024 bits, as MOSES; pairs of a sample with itself do not count. The floor is
    that of as many held-out molecules.
    """

    min_n: ClassVar[int] = 10

    limit: int = Field(default=2000, ge=10, description="Samples to compare at most.")
    rounds: int = Field(default=200, ge=20, description="Bootstrap rounds of the interval.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        self.require(len(evidence.samples))
        ours = valid(evidence.samples)
        if len(ours) < self.min_n:
            raise TooFewSamples(f"{self.kind} needs at least {self.min_n} samples, given {len(ours)} valid ones of {len(evidence.samples)}")
        ours = sorted(ours, key=lambda sample: sample.smiles)[:: max(1, len(ours) // self.limit)][: self.limit]
        similar = similarities(ours)
        value = _diversity(similar)
        drawn = torch.tensor([_diversity(similar[index][:, index]) for index in resamples(len(ours), self.rounds, evidence.seed)])
        # A resample repeats samples, which are similar to themselves: only how the rounds spread is of use.
        low, high = (drawn - drawn.mean()).quantile(torch.tensor([0.025, 0.975])).tolist()
        real = [evidence.test[i].sample for i in range(min(len(evidence.test), len(ours)))]
        floor = _diversity(similarities(real)) if len(real) > 1 else None
        return [
            Measure(
                "diversity", value, max(0.0, value + min(low, 0.0)), min(1.0, value + max(high, 0.0)), len(ours), "higher",
                floor, evidence.test.fingerprint(), left_out(evidence.samples),
            )
        ]  # fmt: skip


def similarities(samples: Sequence[Molecule]) -> Float[Tensor, "samples samples"]:
    """Tanimoto similarity of each pair: shared bits over bits of either, of Morgan fingerprints."""
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    bits = torch.stack([torch.from_numpy(generator.GetFingerprintAsNumPy(sample.mol())) for sample in samples]).double()
    shared = bits @ bits.T
    own = bits.sum(1)
    return shared / (own[:, None] + own - shared).clamp(min=1)


def _diversity(similar: Float[Tensor, "samples samples"]) -> float:
    n = len(similar)
    return float(1 - (similar.sum() - similar.diagonal().sum()) / (n * (n - 1)))
