"""What is wanted of sounds, as a number that is to be low."""

from typing import Any

from pydantic import Field

from anylatent.energies import SampleEnergy
from anylatent.lazy import torch
from anylatent.types import Float, Tensor
from anylatent_audio.pitch_metric import estimates
from anylatent_audio.sound import Sound


class PitchEnergy(SampleEnergy, kind="audio.pitch"):
    """How many semitones a sound's pitch is from a target, by YIN (de Cheveigné and Kawahara 2002).

    A sound in which nothing is periodic is never chosen.
    """

    target: float = Field(default=60.0, ge=36, le=96, description="The wanted pitch as a MIDI number; 60 is middle C, 69 the A of 440 Hz.")

    def unjudged(self, sample: Any) -> str | None:
        if isinstance(sample, Sound):
            return None
        return f"energy '{self.kind}' judges sounds: these samples are of the type {type(sample).__name__}"

    def of_samples(self, samples: list[Any]) -> Float[Tensor, " samples"]:
        return torch.tensor([torch.inf if pitch is None else abs(pitch - self.target) for pitch in estimates(samples)])
