"""Whether molecules have the properties that they were asked to have."""

from typing import ClassVar, Literal

from pydantic import Field

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Measure, Metric, TooFewSamples
from anylatent.metrics.intervals import mean_interval
from anylatent.types import Float, Tensor
from anylatent_molecule import chemistry
from anylatent_molecule.metrics.validity import left_out


class Properties(Metric, kind="molecule.properties"):
    """Mean absolute error of each asked property (logP, QED, weight in g/mol, rings), computed with RDKit, of the valid samples.

    `… error, shuffled` is the control: the same samples judged by each other's conditions (all pairs). A generator that
    ignores what it is asked has both alike.
    """

    min_n: ClassVar[int] = 10

    names: tuple[str, ...] = Field(chemistry.PROPERTIES, description="Properties to judge, where they were asked for.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        self.require(len(evidence.samples))
        unknown = set(self.names) - set(chemistry.PROPERTIES)
        if unknown:
            raise ValueError(f"unknown properties {sorted(unknown)}: RDKit computes {', '.join(chemistry.PROPERTIES)} here")
        measures = []
        for name in self.names:
            judged = [(s, a[name]) for s, a in zip(evidence.samples, evidence.asked, strict=True) if s.valid and a.get(name) is not None]
            if judged:
                measures += self._measure(name, judged, evidence)
        if not measures:
            names = ", ".join(self.names)
            raise ValueError(f"no valid sample was asked for any of {names}: add conditions to the recipe, or leave this metric out")
        return measures

    def _measure(self, name: str, judged: list, evidence: Evidence) -> list[Measure]:
        n = len(judged)
        if n < self.min_n:
            raise TooFewSamples(f"{self.kind} needs at least {self.min_n} samples, given {n} valid ones that were asked for '{name}'")
        have = torch.tensor([chemistry.properties(sample.mol())[name] for sample, _ in judged], dtype=torch.float64)
        asked = torch.tensor([float(value) for _, value in judged], dtype=torch.float64)
        error = (have - asked).abs()
        # Every sample against every other's condition: what one shuffle gives on average, without its luck.
        control = ((have[:, None] - asked).abs().sum(1) - error) / (n - 1)
        note = left_out(evidence.samples)
        return [
            _mean(f"{name} error", error, "lower", evidence.seed, note),
            _mean(f"{name} error, shuffled", control, "neither", evidence.seed, "the control: samples judged by each other's conditions"),
        ]


def _mean(name: str, values: Float[Tensor, " samples"], better: Literal["lower", "neither"], seed: int, note: str) -> Measure:
    mean = float(values.mean())
    # Sorted: the same samples in another order have the same interval.
    low, high = mean_interval(values.sort().values, seed)
    return Measure(name, mean, min(low, mean), max(high, mean), len(values), better, note=note)
