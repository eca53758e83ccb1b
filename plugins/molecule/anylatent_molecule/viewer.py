"""Files that people open: sheets of structures (PNG, SVG), .sdf, .smi; and reading them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anylatent import files
from anylatent_molecule.molecule import Molecule

if TYPE_CHECKING:
    from rdkit.Chem import Mol
    from rdkit.Chem.Draw.rdMolDraw2D import MolDraw2D

CELL_PIXELS = 220
COLUMNS = 8


def sheet_png(samples: Sequence[Molecule], captions: Sequence[str] = ()) -> bytes:
    """A PNG grid of drawn structures, eight a line, with captions under them."""
    from rdkit.Chem.Draw import rdMolDraw2D

    drawing = rdMolDraw2D.MolDraw2DCairo(*_size(len(samples)), CELL_PIXELS, CELL_PIXELS)
    _draw(drawing, samples, captions)
    return drawing.GetDrawingText()


def sheet_svg(samples: Sequence[Molecule], captions: Sequence[str] = ()) -> str:
    """The same as SVG."""
    from rdkit.Chem.Draw import rdMolDraw2D

    drawing = rdMolDraw2D.MolDraw2DSVG(*_size(len(samples)), CELL_PIXELS, CELL_PIXELS)
    _draw(drawing, samples, captions)
    return drawing.GetDrawingText()


def write(samples: Sequence[Molecule], folder: Path) -> list[Path]:
    """Each file whole. Molecules are named by their place among the samples, from 0."""
    named = [(f"sample {index}", sample) for index, sample in enumerate(samples)]
    good = [(name, sample) for name, sample in named if sample.valid]
    bad = [(name, sample) for name, sample in named if not sample.valid]
    written = []
    if good:
        written.append(files.write_text(folder / "molecules.sdf", "".join(_sdf(name, sample) for name, sample in good)))
        written.append(files.write_text(folder / "molecules.smi", "".join(f"{sample.smiles} {name}\n" for name, sample in good)))
    written.append(files.write_text(folder / "molecules.svg", sheet_svg(samples)))
    shapeless = [(name, sample) for name, sample in bad if not sample.coordinates]
    if shapeless:
        written.append(files.write_text(folder / "not-molecules.txt", "".join(f"{name}: {sample.written}\n" for name, sample in shapeless)))
    placed = [(name, sample) for name, sample in bad if sample.coordinates]
    if placed:
        written.append(files.write_text(folder / "not-molecules.xyz", "".join(_xyz(name, sample) for name, sample in placed)))
    return written


def read(path: Path) -> Molecule:
    """The molecule of a file. Errors: `FileNotFoundError`; `ValueError` naming the file and what was expected."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    suffix = path.suffix.lower()
    if suffix not in (".smi", ".sdf", ".mol"):
        raise ValueError(f"{path} is not read here: expected a .smi, .sdf or .mol file with one molecule")
    found = _of_smi(path) if suffix == ".smi" else _of_sdf(path)
    if len(found) != 1:
        raise ValueError(f"{path} holds {len(found) or 'no'} molecules, expected one (molecule.file reads many as a data set)")
    return found[0]


def _of_smi(path: Path) -> list[Molecule]:
    from anylatent_molecule.rows import smi

    found = []
    for row in smi(path):
        try:
            found.append(Molecule.of(row.smiles))
        except ValueError as error:
            raise ValueError(f"{path}, line {row.number}: {error}") from error
    return found


def _of_sdf(path: Path) -> list[Molecule]:
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        # From memory: the reader of files by name throws its own errors for empty ones.
        supplier = Chem.SDMolSupplier()
        supplier.SetData(path.read_text(errors="replace"))
        mols = [mol for mol in supplier if path.stat().st_size]
    if any(mol is None for mol in mols):
        raise ValueError(f"{path} holds something that is no molecule: expected an SD or MOL block that RDKit can sanitise")
    return [_molecule(mol, path) for mol in mols]


def _molecule(mol: "Mol", path: Path) -> Molecule:
    from rdkit import Chem

    from anylatent_molecule import chemistry

    mol = Chem.RemoveHs(mol)
    smiles = chemistry.canonical(mol)
    if not smiles:
        raise ValueError(f"{path} holds a structure whose canonical SMILES RDKit cannot read")
    if not mol.GetNumConformers() or not mol.GetConformer().Is3D():
        return Molecule(smiles)
    return Molecule.placed(mol, mol.GetConformer().GetPositions())


def _size(count: int) -> tuple[int, int]:
    columns = min(max(count, 1), COLUMNS)
    return columns * CELL_PIXELS, max(1, math.ceil(count / columns)) * CELL_PIXELS


def _draw(drawing: "MolDraw2D", samples: Sequence[Molecule], captions: Sequence[str]) -> None:
    from rdkit import rdBase

    legends = [captions[i] if i < len(captions) else "" for i in range(len(samples))]
    with rdBase.BlockLogs():
        options = drawing.drawOptions()
        options.legendFontSize = 15
        options.drawMolsSameScale = False  # else the largest of a hundred makes the others too small to read
        options.fixedBondLength = CELL_PIXELS / 7  # at most: ethanol does not fill its cell
        if samples:
            drawing.DrawMolecules([_flat(sample) for sample in samples], legends=legends)
        drawing.FinishDrawing()


def _flat(sample: Molecule) -> "Mol":
    """What is drawn of a sample: its structure, or the words that there is none."""
    from rdkit import Chem

    if sample.valid:
        return Chem.MolFromSmiles(sample.smiles)
    words = Chem.MolFromSmiles("*")
    words.GetAtomWithIdx(0).SetProp("_displayLabel", "no molecule")
    return words


def _sdf(name: str, sample: Molecule) -> str:
    """An SD record: with the sample's places, or with drawn ones."""
    from rdkit import Chem
    from rdkit.Chem import rdDepictor

    mol = sample.mol()
    if not sample.coordinates:
        rdDepictor.Compute2DCoords(mol)
    mol.SetProp("_Name", name)
    return f"{Chem.MolToMolBlock(mol)}>  <SMILES>\n{sample.smiles}\n\n$$$$\n"


def _xyz(name: str, sample: Molecule) -> str:
    atoms = "".join(f"{e} {x:.4f} {y:.4f} {z:.4f}\n" for e, (x, y, z) in zip(sample.elements, sample.coordinates, strict=True))
    return f"{len(sample.elements)}\n{name}: {sample.written}\n{atoms}"
