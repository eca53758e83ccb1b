"""Energies: of tokens, of decoded samples, of a part of joint ones."""

from typing import Any

import pytest
import torch

from anylatent.components import core_components
from anylatent.energies import Energy, FunctionEnergy, Roughness, SampleFunction
from anylatent.joint.energies import PartEnergy
from anylatent.node import Components
from anylatent.sampling import Sampling
from anylatent.solvers.langevin import Langevin
from anylatent.solvers.value_search import ValueSearch
from anylatent.state import State, Stream
from anylatent.testing import EnergyCase, EnergyContract, SampleEnergyCase, SampleEnergyContract
from anylatent.testing.measurements import grid_layout, set_layout

CASES = {
    "roughness": EnergyCase(Roughness(), grid_layout()),
    "along x": EnergyCase(Roughness(along="x"), grid_layout()),
    "function": EnergyCase(FunctionEnergy(function=lambda x, at: (x.square() * at.mask[..., None]).sum((1, 2))), set_layout()),
}
LENGTH = SampleFunction(function=lambda words: torch.tensor([float(len(word)) if word else torch.nan for word in words]))


class TestTokenEnergies(EnergyContract):
    @pytest.fixture(scope="class", params=CASES)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> EnergyCase:
        return CASES[request.param]


class TestPartEnergy(SampleEnergyContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> SampleEnergyCase:
        samples = [{"word": "ab", "label": 1}, {"word": "abc", "label": 1}, {"word": "a", "label": 2}]
        broken = [{"word": "", "label": 1}, {"word": None, "label": 1}]
        return SampleEnergyCase(PartEnergy(part="word", energy=LENGTH), samples, foreign="ab", broken=broken)


class Words(SampleFunction, kind="test-words"):
    """Of words only."""

    def unjudged(self, sample: Any) -> str | None:
        return None if isinstance(sample, str) else f"energy '{self.kind}' judges words, given {sample}"


class TestSampleFunction(SampleEnergyContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> SampleEnergyCase:
        return SampleEnergyCase(Words(function=LENGTH.function), ["ab", "abc", "a"], foreign=3, broken=[""])


def test_a_part_is_judged_by_an_energy_of_samples() -> None:
    part = PartEnergy(part="word", energy=LENGTH)
    assert part.unjudged({"sound": 1}) == "energy 'part': there is no part 'word': the samples have ['sound']"
    assert PartEnergy(part="word", energy=Words(function=len)).unjudged({"word": 3}) == "energy 'test-words' judges words, given 3"
    given = {"kind": "part", "part": "word", "energy": {"kind": "roughness"}}
    with pytest.raises(ValueError, match="takes one of decoded samples, and 'roughness' is of tokens"):
        Energy.model_validate(given, context={"components": Components(core_components())})


def test_a_number_a_sample_is_asked_for() -> None:
    state = State.of({"tokens": Stream.of(torch.zeros(2, 1, 1))})
    for function, gave in ((lambda samples: torch.zeros(2, 1), r"\(2, 1\)"), (lambda samples: 1.0, "a float")):
        with pytest.raises(ValueError, match=rf"a number a row, a tensor \(2,\): it gave {gave}"):
            SampleFunction(function=function).of_state(state, (), lambda state: ["a", "b"])
    with pytest.raises(ValueError, match=r"only tokens are here: give the `RowGenerator` or `Engine` `decode=tokenizer\.decode`"):
        LENGTH.of_state(state, ())


def test_a_request_says_by_which_energies_it_chooses() -> None:
    """Those of solvers inside of others, and of single streams, too."""
    search = ValueSearch(energy=LENGTH)
    sampling = Sampling.model_validate(
        {
            "solver": Langevin(solver=search),
            "best_of": {"energy": Roughness()},
            "streams": {"a": {"solver": ValueSearch(energy=Roughness())}},
        }
    )
    assert sampling.energies == [Roughness(), LENGTH, Roughness()]
    assert not Sampling().energies
