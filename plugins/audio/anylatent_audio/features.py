"""What sounds are compared by: timbre, pitch and loudness, measured without any learning."""

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Features
from anylatent.types import Float, Tensor
from anylatent_audio.sound import Sound

_VERSION = 1
"""Raised when the same sound would have other features."""
_SILENCE = 1e-6
"""Power of a band, of a full-scale sine's: what lies 60 dB below is not heard, and not compared."""


class Cepstra(Features, kind="audio.features"):
    """Cepstra of log-mel frames over time: mean, spread, and mean change of each of `coefficients` (Davis and Mermelstein 1980),
    and the seconds; each in units of its spread over the training sounds.

    Nothing is trained but that scale: the features are a fixed function, fingerprinted with the training set.
    """

    window: ClassVar[float] = 0.064
    hop: ClassVar[float] = 0.016
    bins: ClassVar[int] = 48

    coefficients: int = Field(default=16, ge=2, le=48, description="Of the cosine transform over the mel bands.")
    limit: int = Field(default=1000, ge=10, description="Training sounds that the scale is measured on at most.")

    def compute(self, samples: Sequence[Sound], evidence: Evidence) -> Float[Tensor, "samples features"]:
        """Features `(n, 3 coefficients + 1)`."""
        count = min(self.limit, len(evidence.train))
        chosen = sorted({round(i * (len(evidence.train) - 1) / max(1, count - 1)) for i in range(count)})
        real = torch.stack([self._vector(evidence.train[index].sample) for index in chosen])
        spread = real.std(0, correction=0)
        return (torch.stack([self._vector(sample) for sample in samples]) - real.mean(0)) / torch.where(spread > 1e-6, spread, 1.0)

    def fingerprint(self, evidence: Evidence) -> str:
        """Of the function and of the training sounds that it is scaled by."""
        return hashlib.sha256(f"{_VERSION} {self.key()} {evidence.train.fingerprint()}".encode()).hexdigest()

    def _vector(self, sound: Sound) -> Float[Tensor, " features"]:
        cepstra = self._cepstra(sound)
        change = cepstra.diff(dim=0).abs().mean(0) if len(cepstra) > 1 else torch.zeros(self.coefficients)
        return torch.cat((cepstra.mean(0), cepstra.std(0, correction=0), change, torch.tensor([sound.seconds])))

    def _cepstra(self, sound: Sound) -> Float[Tensor, "frames coefficients"]:
        window, hop = round(self.window * sound.rate), round(self.hop * sound.rate)
        samples = sound.samples.detach().cpu()
        samples = torch.nn.functional.pad(samples, (window // 2, window // 2 + max(0, window - len(samples))))
        shape = torch.hann_window(window)
        power = (torch.fft.rfft(samples.unfold(0, window, hop) * shape).abs() * 2 / shape.sum()).square()
        bands, cosines = _matrices(window // 2 + 1, sound.rate, self.bins, self.coefficients)
        return (power @ bands).clamp(min=_SILENCE).log10() @ cosines


@cache
def _matrices(places: int, rate: int, bins: int, coefficients: int) -> tuple[Tensor, Tensor]:
    """From power spectra to mel bands, and from their logarithms to cepstra."""
    from anylatent_audio.torchaudio_fallback import load

    functional = load().functional
    return functional.melscale_fbanks(places, 40.0, rate / 2, bins, rate), functional.create_dct(coefficients, bins, "ortho")
