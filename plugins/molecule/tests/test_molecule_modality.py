"""The viewer: its contract, and that other programs read what it writes."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rdkit import Chem

from anylatent.testing import ModalityCase, ModalityContract
from anylatent_molecule import conformers
from anylatent_molecule.data import Nci
from anylatent_molecule.modality import MoleculeModality
from anylatent_molecule.molecule import Molecule

MODALITY = MoleculeModality(data=Nci())
BROKEN = Molecule("", written="[C][")
CROWD = Molecule("", ("C", "O"), ((0.0, 0.0, 0.0), (0.1, 0.0, 0.0)), "2 atoms: two atoms are 0.10 angstrom apart")


def _placed(text: str) -> Molecule:
    mol = Molecule.of(text).mol()
    return Molecule.placed(mol, conformers.embed(mol, 5.0))


class TestMolecules(ModalityContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        return ModalityCase(MODALITY, [Molecule.of("CCO"), Molecule.of("c1ccccc1C(=O)O"), _placed("CC(N)C(=O)O")])


def test_another_program_reads_the_sdf(tmp_path: Path) -> None:
    """Structures and places, with the sample's number as name; what is no molecule stands in a file of its own."""
    samples = [Molecule.of("c1ccccc1O"), BROKEN, _placed("CC(N)C(=O)O"), CROWD]
    written = {path.name: path for path in MODALITY.write(samples, tmp_path)}
    assert set(written) == {"molecules.sdf", "molecules.smi", "molecules.svg", "not-molecules.txt", "not-molecules.xyz"}
    read = list(Chem.SDMolSupplier(str(written["molecules.sdf"])))
    assert [mol.GetProp("_Name") for mol in read] == ["sample 0", "sample 2"]
    assert [Chem.MolToSmiles(mol, isomericSmiles=False) for mol in read] == [samples[0].smiles, samples[2].smiles]
    assert [mol.GetConformer().Is3D() for mol in read] == [False, True]
    assert np.allclose(read[1].GetConformer().GetPositions(), samples[2].coordinates, atol=1e-4)
    assert written["molecules.smi"].read_text() == f"{samples[0].smiles} sample 0\n{samples[2].smiles} sample 2\n"
    assert written["molecules.svg"].read_text().startswith("<?xml")
    assert written["not-molecules.txt"].read_text() == "sample 1: [C][\n"
    assert written["not-molecules.xyz"].read_text().splitlines()[:3] == [
        "2",
        "sample 3: 2 atoms: two atoms are 0.10 angstrom apart",
        "C 0.0000 0.0000 0.0000",
    ]


def test_places_survive_a_file(tmp_path: Path) -> None:
    sample = _placed("CC(N)C(=O)O")
    (sdf,) = (path for path in MODALITY.write([sample], tmp_path) if path.suffix == ".sdf")
    back = MODALITY.read(sdf)
    assert back.elements == sample.elements
    assert np.allclose(back.coordinates, sample.coordinates, atol=1e-4)
    mol = tmp_path / "one.mol"
    mol.write_text(Chem.MolToMolBlock(sample.mol()))
    assert MODALITY.read(mol).smiles == sample.smiles


def test_a_sheet_says_what_is_no_molecule() -> None:
    """An empty cell with a caption, and the grid is eight wide."""
    with Image.open(io.BytesIO(MODALITY.sheet([Molecule.of("CCO"), BROKEN] * 5, ["a"] * 10))) as picture:
        assert picture.size == (8 * 220, 2 * 220)
        cells = [np.asarray(picture.convert("L"))[:220, x : x + 220] for x in (0, 220)]
    assert (cells[0][:160] < 200).any()
    assert (cells[1] < 200).any(), "it says so"
    assert (cells[0] < 200).sum() != (cells[1] < 200).sum()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("two.smi", "CCO\nCCN\n", r"two.smi holds 2 molecules, expected one"),
        ("bad.smi", "C1CC", r"bad.smi, line 1: 'C1CC' cannot be read"),
        ("one.pdb", "ATOM", r"one.pdb is not read here: expected a .smi, .sdf or .mol file"),
        ("torn.mol", "\n  x\n\n  9  8  0\n", r"torn.mol holds"),
    ],
)
def test_files_that_are_not_read_say_why(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        MODALITY.read(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.sdf does not exist"):
        MODALITY.read(tmp_path / "gone.sdf")


def test_what_is_no_molecule_has_no_identity() -> None:
    with pytest.raises(ValueError, match=r"'\[C\]\[' is no molecule: it has no identity"):
        MODALITY.identity(BROKEN)
