"""What is wanted of sounds: the contract, known pitches, what has none."""

import math

import pytest
import torch

from anylatent.testing import SampleEnergyCase, SampleEnergyContract
from anylatent_audio.pitch_energy import PitchEnergy
from anylatent_audio.sound import Sound


def tone(pitch: float) -> Sound:
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    return Sound(0.5 * torch.sin(2 * math.pi * hertz * torch.arange(4000) / 8000), 8000)


SILENCE = Sound(torch.zeros(4000), 8000)


class TestPitchEnergy(SampleEnergyContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> SampleEnergyCase:
        return SampleEnergyCase(PitchEnergy(target=60), [tone(57), tone(60.5), tone(72)], foreign=torch.zeros(3), broken=[SILENCE])


def test_it_is_the_distance_in_semitones() -> None:
    found = PitchEnergy(target=60).of_samples([tone(57), tone(60.5), SILENCE, tone(72)])
    torch.testing.assert_close(found, torch.tensor([3.0, 0.5, torch.inf, 12.0]), atol=0.05, rtol=0)


def test_other_samples_are_refused() -> None:
    assert PitchEnergy(target=60).unjudged("a note") == "energy 'audio.pitch' judges sounds: these samples are of the type str"
