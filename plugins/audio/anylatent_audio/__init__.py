"""Audio for anylatent: notes of real instruments, speech, your own sounds, spectrogram and waveform tokenizers, a viewer, metrics."""

from anylatent.hookspecs import hookimpl
from anylatent.node import Node

anylatent_api = 1


@hookimpl
def anylatent_components() -> list[type[Node]]:
    """Every component of this plugin."""
    from anylatent_audio.features import Cepstra
    from anylatent_audio.folder import Folder
    from anylatent_audio.mel_config import MelConfig
    from anylatent_audio.modality import Audio
    from anylatent_audio.notes import Notes
    from anylatent_audio.pitch_energy import PitchEnergy
    from anylatent_audio.pitch_metric import Pitch
    from anylatent_audio.spectral_distance import SpectralDistance
    from anylatent_audio.speech import Speech
    from anylatent_audio.struck import Struck
    from anylatent_audio.waveform_config import WaveformConfig

    return [Audio, Notes, Speech, Struck, Folder, MelConfig, WaveformConfig, Cepstra, Pitch, PitchEnergy, SpectralDistance]
