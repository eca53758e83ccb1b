"""Data sets: their contract, bad rows, filters, splits, the cache."""

import gzip
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from anylatent.testing import DatasetCase, DatasetContract
from anylatent_molecule import chemistry, conformers
from anylatent_molecule.data import Moses, Nci, UserFile
from anylatent_molecule.modality import MoleculeModality


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYLATENT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


class TestNci(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> DatasetCase:
        data = Nci(rows=200)
        return DatasetCase(data, MoleculeModality(data=data))


class TestConformers(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> DatasetCase:
        data = Nci(rows=300, max_atoms=8, elements=("C", "N", "O", "S", "Cl"), conformers=True, test_fraction=0.3)
        return DatasetCase(data, MoleculeModality(data=data))

    def test_atoms_are_in_the_order_of_smiles(self, splits) -> None:
        """Neighbours in the SMILES are a bond's length apart, strangers are not."""
        for dataset in splits:
            for index in range(len(dataset)):
                molecule = dataset[index].sample
                mol, places = molecule.mol(), np.array(molecule.coordinates)
                assert molecule.elements == tuple(atom.GetSymbol() for atom in mol.GetAtoms())
                assert all(np.linalg.norm(places[b.GetBeginAtomIdx()] - places[b.GetEndAtomIdx()]) < 2.2 for b in mol.GetBonds())
                assert np.abs(places.mean(0)).max() < 1e-3


class TestUserFile(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> DatasetCase:
        path = tmp_path_factory.mktemp("user") / "mine.csv"
        rows = [f"{'C' * n}O,chain {n},{n / 2}" for n in range(1, 60)]
        path.write_text("\n".join(["structure,label,potency", *rows]))
        data = UserFile(path=path, smiles="structure", name="label", numbers={"pic50": "potency"}, test_fraction=0.3)
        return DatasetCase(data, MoleculeModality(data=data))

    def test_columns_become_conditions(self, splits) -> None:
        record = splits[0][0]
        carbons = record.sample.smiles.count("C")
        assert record.conditions["pic50"] == carbons / 2
        assert record.conditions["name"] == record.id == f"chain {carbons}"


def _smi(path: Path, lines: list[str]) -> UserFile:
    path.write_text("\n".join(lines))
    return UserFile(path=path, test_fraction=0.3)


def test_bad_rows_are_counted_and_named_with_their_row(tmp_path: Path) -> None:
    """Row 3,000 of a file cannot be read: it is told by its number, the others are used; `strict` refuses the file."""
    lines = [f"{'C' * (n % 40 + 1)}N m{n}" for n in range(2999)]
    data = _smi(tmp_path / "long.smi", [*lines, "c1ccc(", "CC(C)(C)(C)C five", "", "CCO"])
    train, test = data.build("train"), data.build("test")
    assert train.problems == test.problems
    assert len(train.problems) == 2
    assert train.problems[0].startswith("row 3000: 'c1ccc(' cannot be read: expected SMILES")
    assert train.problems[1].startswith("row 3001: 'CC(C)(C)(C)C' is no molecule: Explicit valence for atom # 1 C")
    records = [dataset[i] for dataset in (train, test) for i in range(len(dataset))]
    assert "row 3003" in {record.id for record in records}
    assert len(records) == 41
    assert train.left_out == {"the same molecule as an earlier row": 2999 - 40}
    with pytest.raises(ValueError, match=r"long.smi: 2 rows cannot be read, the first: row 3000: .*strict is on"):
        data.model_copy(update={"strict": True}).build("train")


def test_rdkit_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _smi(tmp_path / "loud.smi", ["c1ccc(", "CC(C)(C)(C)C", "CCO", *("C" * n for n in range(1, 9))]).build("train")
    assert capfd.readouterr() == ("", "")


def test_bad_numbers_and_cells_are_problems(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("smiles\tx\nCCO\t1\nCCC\tlow\nCCN\nCCCl\tnan\n" + "".join(f"{'C' * n}\t{n}\n" for n in range(4, 30)))
    dataset = UserFile(path=path, numbers={"x": "x"}).build("train")
    assert [problem.split(",")[0] for problem in dataset.problems] == [
        "row 3: the column of 'x' says 'low'",
        "row 4: the column of 'x' says ''",
        "row 5: the column of 'x' says 'nan'",
    ]


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("gone.smi", None, {}, "gone.smi does not exist"),
        ("a.xlsx", "x", {}, r"a.xlsx is not a file of molecules: expected .smi"),
        ("a.csv", "id,structure\n1,CCO\n", {}, "a.csv has no column 'smiles', its header says: id, structure"),
        ("a.csv", "", {}, "a.csv has no column 'smiles', its header says: nothing"),
        ("a.smi", "CCO\n", {"numbers": {"x": "y"}}, r"a.smi has no columns for \['x'\]: give a .csv or .tsv"),
        ("a.smi", "", {}, "a.smi: no molecule for the train split; 0 rows could be used"),
        ("a.smi", "nonsense\n", {}, "1 unreadable: row 1: 'nonsense' cannot be read"),
        ("a.smi", "CCCC\nCCCCC\n", {"max_atoms": 3}, "2 more than 3 heavy atoms; 0 unreadable"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path: Path, name: str, text: str | None, options: dict, message: str) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        UserFile(path=path, **options).build("train")


def test_binary_nonsense_is_reported_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "half.smi"
    path.write_bytes(b"CCO\n\xff\xfe\x00 nonsense\n" + b"\n".join(b"C" * n for n in range(4, 40)))
    dataset = UserFile(path=path).build("train")
    assert len(dataset.problems) == 1
    assert dataset.problems[0].startswith("row 2: ")


def test_salts_stereo_duplicates_and_elements(tmp_path: Path) -> None:
    lines = ["[Na+].CC(=O)[O-]", "C[C@H](N)O", "C[C@@H](N)O", "OCC", "CCO", "CC[Se]C"]
    build = _smi(tmp_path / "few.smi", lines).model_copy

    def smiles(**options) -> set[str]:
        data = build(update=options)
        found = set()
        for split in ("train", "test"):
            try:
                dataset = data.build(split)
            except ValueError:
                continue
            found |= {dataset[i].sample.smiles for i in range(len(dataset))}
        return found

    assert smiles() == {"CC(=O)[O-]", "CC(N)O", "CCO", "CC[Se]C"}
    assert smiles(largest_part=False, elements=("C", "N", "O", "Na")) == {"CC(=O)[O-].[Na+]", "CC(N)O", "CCO"}
    assert smiles(stereo=True) == {"CC(=O)[O-]", "C[C@H](N)O", "C[C@@H](N)O", "CCO", "CC[Se]C"}
    assert smiles(max_symbols=3) == {"CCO"}


def test_the_split_is_of_the_molecule(tmp_path: Path) -> None:
    """The same molecules in another order, written otherwise, are split alike."""
    lines = [f"{'C' * n}O" for n in range(1, 60)]
    first = _smi(tmp_path / "a.smi", lines).build("test")
    second = _smi(tmp_path / "b.smi", [f"O{'C' * n}" for n in range(59, 0, -1)]).build("test")
    ours, others = ({dataset[i].sample.smiles for i in range(len(dataset))} for dataset in (first, second))
    assert ours == others
    assert 0.1 < len(ours) / 59 < 0.5


def test_properties_are_rdkits() -> None:
    caffeine = Nci(rows=1).build("train" if len(_split_of_first()) else "test")[0]
    from rdkit.Chem import QED, Crippen, Descriptors, rdMolDescriptors

    mol = caffeine.sample.mol()
    expected = {
        "logp": Crippen.MolLogP(mol), "qed": QED.qed(mol), "weight": Descriptors.MolWt(mol), "rings": rdMolDescriptors.CalcNumRings(mol)
    }  # fmt: skip
    assert {name: caffeine.conditions[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert set(caffeine.conditions) == {*expected, "caption"}


def _split_of_first() -> list[str]:
    try:
        return [Nci(rows=1).build("train")[0].sample.smiles]
    except ValueError:
        return []


def test_the_cache_is_by_content_and_damage_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path / "cache"))
    data = _smi(tmp_path / "a.smi", [f"{'C' * n}O" for n in range(1, 30)])
    fingerprint = data.build("train").fingerprint()
    (cached,) = (tmp_path / "cache" / "molecule").iterdir()
    calls = []
    monkeypatch.setattr(chemistry, "properties", lambda mol: calls.append(mol) or dict.fromkeys(chemistry.PROPERTIES, 0.0))
    assert data.build("train").fingerprint() == fingerprint, "a second time nothing is computed"
    assert not calls
    cached.write_bytes(cached.read_bytes()[:200])
    data.build("train")
    assert calls, "a damaged cache is made again"
    count = len(calls)
    (tmp_path / "a.smi").write_text("CCN\nCCCN\nCCCCN\nCCCCCN\nCCCCCCN")
    data.build("train")
    assert len(calls) > count, "other content is another table"
    assert not [path for path in cached.parent.iterdir() if path.suffix == ".part"]


def test_a_full_disk_leaves_no_half_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path / "cache"))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    data = _smi(tmp_path / "a.smi", [f"{'C' * n}O" for n in range(1, 30)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            data.build("train")
    assert not list((tmp_path / "cache" / "molecule").iterdir())
    assert len(data.build("train"))


def test_conformers_that_cannot_be_found_are_problems() -> None:
    impossible = chemistry.parse("C12C3C4C1C5C2C3C45")  # cubane is fine …
    assert conformers.embed(impossible, 5.0).shape == (8, 3)
    with pytest.raises(ValueError, match="no conformer"):
        conformers.embed(chemistry.parse("C1#CC1"), 1.0)  # … a ring of three with a triple bond is not


def test_moses_says_how_to_fetch_it_and_is_read_from_its_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"`anylatent data fetch molecule.moses` \(51.6 MB, MIT\)"):
        Moses().build("train")
    Moses.source.path.parent.mkdir(parents=True)
    with zipfile.ZipFile(Moses.source.path, "w") as archive:
        archive.writestr("moses/dataset/data/train.csv.gz", gzip.compress(b"SMILES,SPLIT\nCCO,train\nCCN,train\nbad,train\n"))
        archive.writestr("moses/dataset/data/test.csv.gz", gzip.compress(b"SMILES,SPLIT\nCCCO,test\n"))
    train, test = Moses().build("train"), Moses().build("test")
    assert [train[i].sample.smiles for i in range(len(train))] == ["CCO", "CCN"]
    assert [test[i].sample.smiles for i in range(len(test))] == ["CCCO"]
    assert train.problems[0].startswith("row 4: 'bad' cannot be read")
    assert len(Moses(rows=1).build("train")) == 1
