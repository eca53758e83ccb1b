"""The numbers of `molecule.descriptors`."""

import math
from typing import TYPE_CHECKING

from anylatent_molecule import chemistry, description

if TYPE_CHECKING:
    from rdkit.Chem import Mol

VERSION = 1
"""Raised when a molecule would have other numbers."""

_ELEMENTS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I")


def numbers(mol: "Mol") -> list[float]:
    """Properties, surface, bonds and rings, the elements, which functional groups there are."""
    from rdkit.Chem import rdMolDescriptors

    properties = chemistry.properties(mol)
    atoms = list(mol.GetAtoms())
    counts = [
        len(atoms),
        sum(atom.GetIsAromatic() for atom in atoms),
        rdMolDescriptors.CalcNumRings(mol),
        rdMolDescriptors.CalcNumAromaticRings(mol),
        rdMolDescriptors.CalcNumSaturatedRings(mol),
        rdMolDescriptors.CalcNumHBD(mol),
        rdMolDescriptors.CalcNumHBA(mol),
        rdMolDescriptors.CalcNumRotatableBonds(mol),
        *(sum(atom.GetSymbol() == element for atom in atoms) for element in _ELEMENTS),
    ]
    there = set(description.groups(mol))
    return [
        properties["logp"],
        math.log(properties["weight"]),
        properties["qed"],
        rdMolDescriptors.CalcTPSA(mol) / 50,
        rdMolDescriptors.CalcFractionCSP3(mol),
        *(math.log1p(count) for count in counts),
        *(float(name in there) for name in description.GROUPS),
    ]
