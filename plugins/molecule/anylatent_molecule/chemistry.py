"""Reading and judging structures with RDKit: parse, canonical SMILES, largest part, properties. Nothing here prints."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdkit.Chem import Mol

PROPERTIES = ("logp", "qed", "weight", "rings")
"""What is computed of every molecule: Crippen logP (no unit), QED (0 to 1), molecular weight in g/mol, number of rings."""


def parse(text: str) -> "Mol":
    """A sanitised RDKit molecule from SMILES. Errors: `ValueError` with the text and what is wrong with it."""
    from rdkit import Chem, rdBase

    text = text.strip()
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(text, sanitize=False) if text else None
        if mol is None or not mol.GetNumAtoms():
            raise ValueError(f"'{shortened(text)}' cannot be read: expected SMILES, such as CC(=O)Oc1ccccc1C(=O)O")
        for problem in Chem.DetectChemistryProblems(mol):
            raise ValueError(f"'{shortened(text)}' is no molecule: {problem.Message()}")
        whole = Chem.MolFromSmiles(text)
    if whole is None:
        raise ValueError(f"'{shortened(text)}' is no molecule: RDKit cannot sanitise it")
    return whole


def canonical(mol: "Mol", stereo: bool = True) -> str:
    """RDKit's canonical SMILES, hydrogens implicit; "" if the structure cannot be written and read again."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        # Written, read and written: the canonical form of what a file says, not of how it was built.
        again = Chem.MolFromSmiles(Chem.MolToSmiles(mol, isomericSmiles=stereo))
        return "" if again is None else Chem.MolToSmiles(again, isomericSmiles=stereo)


def largest_part(mol: "Mol") -> "Mol":
    """The part with the most heavy atoms (of a salt or solvate); the first by SMILES among equals."""
    from rdkit import Chem

    parts = Chem.GetMolFrags(mol, asMols=True)
    return mol if len(parts) == 1 else min(parts, key=lambda part: (-part.GetNumHeavyAtoms(), Chem.MolToSmiles(part)))


def closed_shell(mol: "Mol") -> "Mol":
    """The same structure with hydrogens where it had unpaired electrons: [NH]C=O becomes NC=O."""
    from rdkit import Chem

    closed = Chem.RWMol(mol)
    for atom in closed.GetAtoms():
        atom.SetNumExplicitHs(atom.GetNumExplicitHs() + atom.GetNumRadicalElectrons())
        atom.SetNumRadicalElectrons(0)
    Chem.SanitizeMol(closed)
    return closed.GetMol()


def holds(mol: "Mol", fragment: "Mol") -> bool:
    """Whether the fragment's atoms and bonds are in the molecule, with the orders (and aromaticity) that they have there."""
    from rdkit import rdBase

    with rdBase.BlockLogs():
        return bool(mol.HasSubstructMatch(fragment))


def properties(mol: "Mol") -> dict[str, float]:
    """`PROPERTIES` of a molecule: logP (Wildman & Crippen 1999), QED (Bickerton et al. 2012), weight, rings (SSSR)."""
    return {name: one_property(mol, name) for name in PROPERTIES}


def one_property(mol: "Mol", name: str) -> float:
    """One of `properties`. Errors: `KeyError` for another name."""
    from rdkit import rdBase
    from rdkit.Chem import QED, Crippen, Descriptors, rdMolDescriptors

    computed = {
        "logp": Crippen.MolLogP,  # pyright: ignore[reportAttributeAccessIssue]
        "qed": QED.qed,
        "weight": Descriptors.MolWt,  # pyright: ignore[reportAttributeAccessIssue]
        "rings": rdMolDescriptors.CalcNumRings,
    }
    with rdBase.BlockLogs():
        return float(computed[name](mol))


def shortened(text: str, length: int = 60) -> str:
    """User text for a message, at most `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
