"""The sample of this modality."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anylatent_molecule import chemistry

if TYPE_CHECKING:
    from rdkit.Chem import Mol


@dataclass(frozen=True)
class Molecule:
    """A molecule as canonical SMILES, with the place of its heavy atoms where that is known.

    `smiles` is "" for something generated that is no molecule; then `written` says what the decoder made, and
    `valid` is false. `elements` (symbols) and `coordinates` (x, y, z in angstrom) are empty for a structure without a
    geometry; otherwise one each for every heavy atom, in the order of the atoms in `smiles`.
    """

    smiles: str
    elements: tuple[str, ...] = ()
    coordinates: tuple[tuple[float, float, float], ...] = ()
    written: str = ""

    @staticmethod
    def of(text: str, stereo: bool = True) -> "Molecule":
        """From any SMILES. Errors: `ValueError` with the text and what is wrong with it."""
        smiles = chemistry.canonical(chemistry.parse(text), stereo)
        if not smiles:
            raise ValueError(f"'{chemistry.shortened(text)}' is no molecule: RDKit cannot read its canonical form")
        return Molecule(smiles)

    @staticmethod
    def placed(mol: "Mol", places: Any) -> "Molecule":
        """From an RDKit molecule without explicit hydrogens and the places `(atoms, 3)` of its atoms; stereochemistry is dropped.

        Errors: `ValueError` if its canonical SMILES says another structure.
        """
        smiles = chemistry.canonical(mol, stereo=False)
        order = mol.GetSubstructMatch(chemistry.parse(smiles)) if smiles else ()
        if not order or len(order) != mol.GetNumAtoms():
            raise ValueError(f"its canonical form '{chemistry.shortened(smiles)}' has other bonds")
        elements = tuple(mol.GetAtomWithIdx(i).GetSymbol() for i in order)
        return Molecule(smiles, elements, rounded(places[i] for i in order))

    @property
    def valid(self) -> bool:
        return bool(self.smiles)

    def mol(self) -> "Mol":
        """The RDKit molecule, with one conformer if there are coordinates. Errors: `ValueError` if it is not valid."""
        from rdkit import Chem
        from rdkit.Geometry import Point3D

        if not self.valid:
            raise ValueError(f"there is no structure: the decoder made '{chemistry.shortened(self.written)}', which is no molecule")
        mol = chemistry.parse(self.smiles)
        if self.coordinates:
            conformer = Chem.Conformer(mol.GetNumAtoms())
            for index, place in enumerate(self.coordinates):
                conformer.SetAtomPosition(index, Point3D(*place))
            mol.AddConformer(conformer)
        return mol


def rounded(places: Iterable[Any]) -> tuple[tuple[float, float, float], ...]:
    """Places as tuples, to a tenth of a milli-angstrom, as .sdf files hold them."""
    return tuple((round(float(x), 4), round(float(y), 4), round(float(z), 4)) for x, y, z in places)


def require_molecule(sample: Any, index: int) -> None:
    """Errors: `ValueError` names the sample's index if it is no molecule."""
    if not isinstance(sample, Molecule):
        raise ValueError(f"sample {index} is a {type(sample).__name__}, expected an anylatent_molecule.Molecule")
    if not sample.valid:
        raise ValueError(f"sample {index} is no molecule ('{chemistry.shortened(sample.written)}'): only molecules can be tokenized")
