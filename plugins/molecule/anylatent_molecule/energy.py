"""What is wanted of molecules, as a number that is to be low."""

from typing import Any, Literal

from pydantic import Field, model_validator

from anylatent.energies import SampleEnergy
from anylatent.lazy import torch
from anylatent.types import Float, Tensor
from anylatent_molecule import chemistry
from anylatent_molecule.molecule import Molecule


class PropertyEnergy(SampleEnergy, kind="molecule.property"):
    """How far a molecule's property is from a target, or the property itself, low or high: logP, QED, weight in g/mol, rings, by RDKit.

    What is no molecule is never chosen.
    """

    name: Literal["logp", "qed", "weight", "rings"] = Field(description="The property.")
    target: float | None = Field(default=None, description="What it is to be near, in its unit: the energy is the distance.")
    direction: Literal["low", "high"] | None = Field(default=None, description="Or: whether it is to be low or high.")

    @model_validator(mode="after")
    def _says_where_to(self) -> "PropertyEnergy":
        if (self.target is None) == (self.direction is None):
            raise ValueError(f"energy '{self.kind}' takes `target`, a number, or `direction`, low or high: give one of the two")
        return self

    def unjudged(self, sample: Any) -> str | None:
        if isinstance(sample, Molecule):
            return None
        return f"energy '{self.kind}' judges molecules: these samples are of the type {type(sample).__name__}"

    def of_samples(self, samples: list[Any]) -> Float[Tensor, " samples"]:
        return torch.tensor([self._of(sample) if sample.valid else torch.inf for sample in samples])

    def _of(self, molecule: Molecule) -> float:
        found = chemistry.one_property(molecule.mol(), self.name)
        if self.target is not None:
            return abs(found - self.target)
        return found if self.direction == "low" else -found
