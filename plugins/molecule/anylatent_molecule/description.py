"""A molecule in plain words: what a chemist sees at first glance, computed by RDKit."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdkit.Chem import Mol

GROUPS = {
    "a carboxylic acid": "[CX3](=O)[OX2H1]",
    "an ester": "[CX3](=O)[OX2H0][#6]",
    "an amide": "[NX3][CX3](=O)",
    "an aldehyde": "[CX3H1](=O)[#6]",
    "a ketone": "[#6][CX3](=O)[#6]",
    "an alcohol": "[CX4][OX2H1]",
    "a phenol": "[c][OX2H1]",
    "an ether": "[OX2]([#6;!$(C=O)])[#6;!$(C=O)]",
    "an amine": "[NX3;+0;!$(N[C,S,P]=[O,S])][#6]",
    "a nitro group": "[$([NX3](=O)=O),$([NX3+](=O)[O-])]",
    "a nitrile": "[CX2]#[NX1]",
    "a thiol": "[#6][SX2H1]",
    "a sulfonyl": "[SX4](=O)(=O)",
    "chlorine": "[Cl]",
    "fluorine": "[F]",
    "bromine": "[Br]",
}
"""Functional groups by SMARTS, in the order in which they are named."""

_NUMBERS = ("no rings", "one ring", "two rings", "three rings", "four rings")
_NAMED = 3
"""Groups that a description names at most: the first of `GROUPS`."""


def describe(mol: "Mol") -> str:
    """`a small oily aromatic molecule with one ring, an ester and chlorine`.

    Small: up to 10 heavy atoms; large: above 20. Oily: Crippen logP above 3; water-loving: below 0. At most three groups are named.
    """
    from rdkit.Chem import Crippen, rdMolDescriptors

    atoms = mol.GetNumHeavyAtoms()
    logp = Crippen.MolLogP(mol)  # pyright: ignore[reportAttributeAccessIssue]
    words = [
        "small" if atoms <= 10 else "large" if atoms > 20 else "",
        "oily" if logp > 3 else "water-loving" if logp < 0 else "",
        "aromatic" if any(atom.GetIsAromatic() for atom in mol.GetAtoms()) else "",
        "molecule",
    ]
    rings = rdMolDescriptors.CalcNumRings(mol)
    parts = [_NUMBERS[rings] if rings < len(_NUMBERS) else "many rings", *groups(mol)[:_NAMED]]
    told = " ".join(filter(None, words))
    return f"{'an' if told[0] in 'aeiou' else 'a'} {told} with {', '.join(parts[:-1])}{' and ' * (len(parts) > 1)}{parts[-1]}"


def groups(mol: "Mol") -> list[str]:
    """The functional groups that a molecule has, in the order of `GROUPS`."""
    return [name for name, pattern in _patterns().items() if mol.HasSubstructMatch(pattern)]


@cache
def _patterns() -> "dict[str, Mol]":
    from rdkit import Chem

    return {name: Chem.MolFromSmarts(smarts) for name, smarts in GROUPS.items()}
