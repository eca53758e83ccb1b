"""Searching among joint samples by one of their parts."""

from typing import Any

from pydantic import Field, field_validator

from anylatent.energies import Energy, SampleEnergy
from anylatent.lazy import torch
from anylatent.types import Float, Tensor


class PartEnergy(SampleEnergy, kind="part"):
    """An energy of one part's samples, of a joint sample; without that part a sample is never chosen."""

    part: str = Field(description="The part's name.")
    energy: SampleEnergy = Field(description="What is to be low, of that part.")

    @field_validator("energy")
    @classmethod
    def _of_samples(cls, energy: Energy) -> Energy:
        if isinstance(energy, SampleEnergy):
            return energy
        raise ValueError(
            f"energy '{cls.kind}' takes one of decoded samples, and '{energy.kind}' is of tokens: `best_of.stream` names those"
        )

    def unjudged(self, sample: Any) -> str | None:
        if not isinstance(sample, dict):
            return f"energy '{self.kind}' judges joint samples: these are of the type {type(sample).__name__}"
        if self.part not in sample:
            return f"energy '{self.kind}': there is no part '{self.part}': the samples have {list(sample)}"
        return None if sample[self.part] is None else self.energy.unjudged(sample[self.part])

    def of_samples(self, samples: list[Any]) -> Float[Tensor, " samples"]:
        found = torch.full((len(samples),), torch.inf)
        there = [index for index, sample in enumerate(samples) if sample[self.part] is not None]
        if there:
            found[there] = self.energy.of_samples([samples[index][self.part] for index in there]).float()
        return found
