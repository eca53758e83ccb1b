"""How far a tokenizer's reconstructions are from the sounds."""

from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.intervals import mean_interval
from anylatent.types import Tensor
from anylatent_audio.sound import Sound

_WINDOWS = (0.016, 0.032, 0.064, 0.128)
"""Seconds: from what blurs pitch to what blurs attacks."""


class SpectralDistance(Metric, kind="audio.spectral-distance"):
    """What encoding and decoding does to held-out real sounds, on short-time spectra of four resolutions (Yamamoto, Song and Kim 2020,
    1910.11480, section 2.2): spectral convergence |S - S'| / |S|, and the mean difference of log magnitudes in decibels.

    It judges the tokenizer, not the samples: 0 would be perfect. As many held-out sounds are used as there are samples, at
    most `limit`.
    """

    min_n: ClassVar[int] = 10

    limit: int = Field(default=200, ge=10, description="Held-out sounds at most.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        """Two measures. Errors: `TooFewSamples`; `ValueError` if there is no tokenizer."""
        self.require(min(len(evidence.samples), len(evidence.test)))
        if evidence.tokenizer is None:
            raise ValueError(f"{self.kind} judges the run's tokenizer, and none was given")
        n = min(self.limit, len(evidence.samples), len(evidence.test))
        chosen = sorted({round(i * (len(evidence.test) - 1) / max(1, n - 1)) for i in range(n)})
        sounds = [evidence.test[index].sample for index in chosen]
        restored = evidence.tokenizer.decode(evidence.tokenizer.encode(sounds))
        pairs = torch.tensor([distances(sound, other) for sound, other in zip(sounds, restored, strict=True)])
        return [
            self._measure("spectral convergence", pairs[:, 0], evidence),
            self._measure("log-spectral distance (dB)", pairs[:, 1], evidence),
        ]

    def _measure(self, name: str, values: Tensor, evidence: Evidence) -> Measure:
        low, high = mean_interval(values, evidence.seed)
        mean = float(values.double().mean())
        assert evidence.tokenizer is not None
        return Measure(
            name, mean, min(low, mean), max(high, mean), len(values), "lower",
            fingerprint=evidence.tokenizer.fingerprint(), note="of the tokenizer's reconstructions of held-out sounds; 0 is perfect",
        )  # fmt: skip


def distances(sound: Sound, other: Sound) -> tuple[float, float]:
    """Spectral convergence and mean log-magnitude difference (dB, within 60 dB of the loudest), both averaged over the resolutions."""
    found = [_at(sound, other, round(seconds * sound.rate)) for seconds in _WINDOWS]
    return sum(c for c, _ in found) / len(found), sum(d for _, d in found) / len(found)


def _at(sound: Sound, other: Sound, window: int) -> tuple[float, float]:
    real, made = (_magnitudes(x.samples, len(sound), window) for x in (sound, other))
    loudest = real.max().clamp(min=1e-6)
    convergence = float((real - made).norm() / real.norm().clamp(min=1e-6))
    levels = [(x.clamp(min=1e-3 * loudest) / loudest).log10() * 20 for x in (real, made)]
    return convergence, float((levels[0] - levels[1]).abs().mean())


def _magnitudes(samples: Tensor, length: int, window: int) -> Tensor:
    """Of the first `length` samples."""
    samples = torch.nn.functional.pad(samples.detach().cpu()[:length], (0, max(0, length - len(samples))))
    padded = torch.nn.functional.pad(samples, (window // 2, window))
    return torch.fft.rfft(padded.unfold(0, window, window // 4) * torch.hann_window(window)).abs()
