"""The modality: how molecules are read, shown and told apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from anylatent.modality import Modality
from anylatent_molecule.molecule import Molecule


class MoleculeModality(Modality, kind="molecule"):
    """Molecules: canonical SMILES, with or without the place of their atoms."""

    sample: ClassVar[str] = "a Molecule: canonical SMILES; optionally elements and coordinates of its heavy atoms, in angstrom"
    suffixes: ClassVar[tuple[str, ...]] = (".smi", ".sdf", ".mol")

    def sheet(self, samples: Sequence[Any], captions: Sequence[str] = ()) -> bytes:
        """A PNG grid of structures; a sample that is no molecule is an empty cell that says so."""
        from anylatent_molecule import viewer

        return viewer.sheet_png(samples, captions)

    def write(self, samples: Sequence[Any], folder: Path) -> list[Path]:
        """molecules.sdf (drawn flat where no places are known), .smi and .svg; what is no molecule: not-molecules.txt or .xyz."""
        from anylatent_molecule import viewer

        return viewer.write(samples, folder)

    def read(self, path: Path) -> Molecule:
        """The molecule of a .smi, .sdf or .mol file with one. Errors: `ValueError` naming the file and what was expected."""
        from anylatent_molecule import viewer

        return viewer.read(path)

    def identity(self, sample: Any) -> str:
        """Its canonical SMILES. Errors: `ValueError` for what is no molecule."""
        if not sample.valid:
            raise ValueError(f"'{sample.written[:60]}' is no molecule: it has no identity")
        return sample.smiles
