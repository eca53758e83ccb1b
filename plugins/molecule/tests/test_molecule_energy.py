"""What is wanted of molecules: the contract, known values, what is no molecule."""

import pytest
import torch

from anylatent.testing import SampleEnergyCase, SampleEnergyContract
from anylatent_molecule import chemistry
from anylatent_molecule.energy import PropertyEnergy
from anylatent_molecule.molecule import Molecule

MOLECULES = [Molecule.of(text) for text in ("CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "C1CCCCC1")]
BROKEN = Molecule("", written="C1CC")
ENERGIES = [
    PropertyEnergy(name="logp", target=2.5), PropertyEnergy(name="qed", direction="high"), PropertyEnergy(name="weight", direction="low"),
    PropertyEnergy(name="rings", target=1),
]  # fmt: skip


class TestPropertyEnergy(SampleEnergyContract):
    @pytest.fixture(scope="class", params=ENERGIES, ids=lambda energy: energy.name)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> SampleEnergyCase:
        return SampleEnergyCase(request.param, MOLECULES, foreign=torch.zeros(8, 8, 1), broken=[BROKEN])


@pytest.mark.parametrize("name", chemistry.PROPERTIES)
def test_it_is_the_distance_or_the_property_itself(name: str) -> None:
    have = torch.tensor([chemistry.properties(molecule.mol())[name] for molecule in MOLECULES])
    for energy, wanted in (
        (PropertyEnergy(name=name, target=1.5), (have - 1.5).abs()),  # type: ignore[arg-type]
        (PropertyEnergy(name=name, direction="low"), have),  # type: ignore[arg-type]
        (PropertyEnergy(name=name, direction="high"), -have),  # type: ignore[arg-type]
    ):
        torch.testing.assert_close(energy.of_samples(MOLECULES), wanted)
        assert energy.of_samples([BROKEN]).tolist() == [torch.inf]


def test_a_target_or_a_direction_is_given() -> None:
    for given in ({}, {"target": 1.0, "direction": "low"}):
        with pytest.raises(ValueError, match="takes `target`, a number, or `direction`, low or high: give one of the two"):
            PropertyEnergy(name="logp", **given)


def test_other_samples_are_refused() -> None:
    energy = PropertyEnergy(name="qed", direction="high")
    assert energy.unjudged(torch.zeros(2)) == "energy 'molecule.property' judges molecules: these samples are of the type Tensor"
    assert energy.unjudged(BROKEN) is None, "it is never chosen, but it is of the kind"
