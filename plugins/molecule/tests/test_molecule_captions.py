"""Molecules in words: descriptions, names, and the numbers that captions are compared with."""

import zipfile
from dataclasses import replace

import pytest
import torch

from anylatent.metrics.base import Evidence
from anylatent.testing import Listed
from anylatent_molecule import chemistry, description, sizes
from anylatent_molecule.data import Named, Nci
from anylatent_molecule.metrics.descriptors import DescriptorFeatures
from anylatent_molecule.modality import MoleculeModality
from anylatent_molecule.molecule import Molecule


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYLATENT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        ("O", "a small water-loving molecule with no rings"),
        ("COC", "a small molecule with no rings and an ether"),
        ("C1CC1", "a small molecule with one ring"),
        ("CC(=O)O", "a small molecule with no rings and a carboxylic acid"),
        ("Cc1cc(C)c(N)c(C)c1", "a small aromatic molecule with one ring and an amine"),
        ("O=[N+]([O-])c1ccccc1", "a small aromatic molecule with one ring and a nitro group"),
        ("CC(=O)Oc1ccccc1C(=O)O", "an aromatic molecule with one ring, a carboxylic acid and an ester"),
        ("OC(=O)CC(=O)CC(O)CCl", "a molecule with no rings, a carboxylic acid, a ketone and an alcohol"),
        ("C" * 23, "a large oily molecule with no rings"),
        ("c1ccc2c(c1)c1ccccc1c1ccccc21", "an oily aromatic molecule with four rings"),
        ("C1CC2CC1C1C3CCC(C3)C21", "an oily molecule with four rings"),
    ],
)
def test_descriptions(smiles: str, said: str) -> None:
    assert description.describe(chemistry.parse(smiles)) == said


def test_every_group_is_found_where_it_is_and_not_in_its_neighbours() -> None:
    """Each molecule has the named groups and no other."""
    examples = {
        "CC(=O)O": {"a carboxylic acid"}, "CC(=O)OC": {"an ester"}, "CC(=O)N": {"an amide"}, "CC=O": {"an aldehyde"},
        "CC(C)=O": {"a ketone"},
        "CCO": {"an alcohol"}, "Oc1ccccc1": {"a phenol"}, "CCOC": {"an ether"}, "CCN": {"an amine"}, "CN(C)C": {"an amine"},
        "CC[N+](=O)[O-]": {"a nitro group"}, "CC#N": {"a nitrile"}, "CCS": {"a thiol"}, "CS(C)(=O)=O": {"a sulfonyl"}, "CCCl": {"chlorine"},
        "CCF": {"fluorine"}, "CCBr": {"bromine"}, "CCI": set(), "CSC": set(), "C[N+](C)(C)C": set(), "CC(=O)N(C)C": {"an amide"},
        "CS(=O)(=O)N": {"a sulfonyl"}, "c1ccncc1": set(),
    }  # fmt: skip
    for smiles, expected in examples.items():
        assert set(description.groups(chemistry.parse(smiles))) == expected, smiles
    assert set().union(*examples.values()) == set(description.GROUPS)


def test_records_have_their_description() -> None:
    dataset = Nci(rows=30).build("train")
    for index in range(len(dataset)):
        record = dataset[index]
        assert record.conditions["caption"] == description.describe(record.sample.mol())


def test_named_molecules_are_read_from_the_archive() -> None:
    lines = [
        ["702", "64-17-5", "C2H6O", "46.07", "CCO", "inchi", "key", "ethanol", "alcohol"],
        ["too", "short"],
        ["6344", "75-09-2", "CH2Cl2", "84.93", "C(Cl)Cl", "inchi", "key", "dichloromethane"],
        *([str(n), "-", "-", "-", "C" * n, "-", "-", f"chain of {n}"] for n in range(5, 30)),
    ]
    Named.source.path.parent.mkdir(parents=True)
    with zipfile.ZipFile(Named.source.path, "w") as archive:
        archive.writestr(Named.member, "\n".join("\t".join(line) for line in lines) + "\n")
    data = Named(test_fraction=0.3)
    splits = [data.build("train"), data.build("test")]
    names = {dataset[i].sample.smiles: dataset[i].conditions["name"] for dataset in splits for i in range(len(dataset))}
    assert len(names) == 27
    assert (names["CCO"], names["ClCCl"], names["C" * 9]) == ("ethanol", "dichloromethane", "chain of 9")
    assert splits[0].problems == ("row 2: '' cannot be read: expected SMILES, such as CC(=O)Oc1ccccc1C(=O)O",)
    Named.source.path.unlink()
    with pytest.raises(FileNotFoundError, match=r"run `anylatent data fetch molecule.named` \(22.3 MB, MIT\)"):
        data.build("train")


def test_sizes_follow_the_words_of_a_description() -> None:
    """Chains of 2 to 9 atoms are called small, those of 12 to 19 are not; words that say nothing of the size draw as before."""
    chains = [Molecule.of("C" * count) for count in (*range(2, 10), *range(12, 20))] * 3
    facts = sizes.measure(chains, [len(chain.smiles) for chain in chains])
    uniforms = [(number + 0.5) / 200 for number in range(200)]

    def drawn(row: dict) -> list[int]:
        return sizes.draw(facts, uniforms, [row] * 200)

    small, long = drawn({"caption": "a Small molecule, with no rings"}), drawn({"caption": "an oily molecule with no rings"})
    assert 2 < sum(small) / 200 < 7
    assert 12 < sum(long) / 200 < 19
    assert drawn({"caption": "etwas anderes"}) == drawn({}) == drawn({"caption": None})
    assert min(small) >= 2


class TestDescriptors:
    @pytest.fixture
    def evidence(self) -> Evidence:
        real = Listed([Molecule.of("CCO")])
        return Evidence(MoleculeModality(data=Nci()), [], [], real, real)

    def test_like_molecules_are_near(self, evidence: Evidence) -> None:
        hexanol, heptanol, nitrobenzene = DescriptorFeatures().compute(
            [Molecule.of(smiles) for smiles in ("CCCCCCO", "CCCCCCCO", "O=[N+]([O-])c1ccccc1")], evidence
        )
        assert (hexanol - heptanol).norm() < 0.3 * (hexanol - nitrobenzene).norm()
        assert torch.isfinite(nitrobenzene).all()

    def test_what_is_no_molecule_is_refused(self, evidence: Evidence) -> None:
        broken = replace(Molecule.of("CCO"), smiles="", written="C((")
        with pytest.raises(ValueError, match=r"sample 1 is no molecule \('C\(\('\): descriptors are of valid ones only"):
            DescriptorFeatures().compute([Molecule.of("CCO"), broken], evidence)

    def test_the_fingerprint_names_what_decides(self, evidence: Evidence) -> None:
        assert DescriptorFeatures().fingerprint(evidence).startswith("descriptors 1 of rdkit 20")
