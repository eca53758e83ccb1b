"""The pitch of a sound by YIN (de Cheveigné and Kawahara 2002, JASA 111(4)), without any learning."""

import math

import torch

from anylatent.types import Float, Tensor
from anylatent_audio.sound import Sound

_WINDOW, _HOP = 0.04, 0.01
"""Seconds that are compared with themselves a lag later, and between two estimates."""
_FINE = 32000
_THRESHOLD = 0.15
"""Of the normalised difference: the first dip below it is the period (step 4)."""


def estimate_pitch(sound: Sound, lowest: float = 36, highest: float = 96) -> float | None:
    """The MIDI number, with fractions: the energy-weighted median over the sound; None if nothing in it is periodic."""
    sound = _finer(sound)
    frames, energy = _frames(sound, lowest)
    if not len(frames):
        return None
    periods, unvoiced = _periods(frames, sound.rate, lowest, highest)
    loud = (energy > 0.05 * energy.max()) & (energy > 1e-8) & ~unvoiced
    if not loud.any():
        return None
    pitches = 69 + 12 * torch.log2(sound.rate / periods[loud] / 440)
    order = pitches.argsort()
    weight = energy[loud].sqrt()[order].cumsum(0)
    return float(pitches[order][torch.searchsorted(weight, weight[-1] / 2)])


def _finer(sound: Sound) -> Sound:
    """At `_FINE` samples a second or more, by zeros behind its spectrum: short periods are then many samples long."""
    times = math.ceil(_FINE / sound.rate)
    samples = sound.samples.detach().cpu()
    return Sound(torch.fft.irfft(torch.fft.rfft(samples), times * len(samples)) * times, times * sound.rate)


def _frames(sound: Sound, lowest: float) -> tuple[Float[Tensor, "frames time"], Float[Tensor, " frames"]]:
    """Windows with room for the longest lag behind them, and their mean squares."""
    samples = sound.samples.detach().cpu().double()
    window, longest = int(_WINDOW * sound.rate), _lag(sound.rate, lowest)
    size = window + longest + 1
    if len(samples) < size:
        return torch.zeros(0, size, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    frames = samples.unfold(0, size, int(_HOP * sound.rate))
    return frames, frames.square().mean(1)


def _lag(rate: int, pitch: float) -> int:
    return int(rate / (440 * 2 ** ((pitch - 69) / 12))) + 2


def _periods(frames: Tensor, rate: int, lowest: float, highest: float) -> tuple[Tensor, Tensor]:
    """The period of each frame in samples, with fractions; and which have none."""
    window = int(_WINDOW * rate)
    difference = _difference(frames, window)
    lags = torch.arange(1, difference.shape[1], dtype=torch.float64)
    mean = difference[:, 1:].cumsum(1) / lags
    normalised = torch.cat((torch.ones_like(difference[:, :1]), difference[:, 1:] / mean.clamp(min=1e-12)), 1)  # eq. 8
    first = max(2, int(rate / (440 * 2 ** ((highest - 69) / 12))) - 1)
    last = min(_lag(rate, lowest), normalised.shape[1] - 2)
    inside = normalised[:, first : last + 1]
    dips = (inside <= normalised[:, first - 1 : last]) & (inside < normalised[:, first + 1 : last + 2])
    below = dips & (inside < _THRESHOLD)
    any_below = below.any(1)
    best = inside.masked_fill(~dips, float("inf")).argmin(1)
    lag = torch.where(any_below, below.double().argmax(1), best) + first
    unvoiced = inside.gather(1, (lag - first)[:, None])[:, 0] > 0.5
    return _refined(normalised, lag), unvoiced


def _difference(frames: Tensor, window: int) -> Tensor:
    """d(lag) = sum over the window of (x(t) - x(t + lag))^2 (eq. 6), by the autocorrelation."""
    size = frames.shape[1]
    spectrum = torch.fft.rfft(frames, 2 * size)
    head = torch.fft.rfft(frames[:, :window], 2 * size)
    lags = size - window
    product = torch.fft.irfft(spectrum * head.conj(), 2 * size)[:, :lags]
    sums = torch.nn.functional.pad(frames.square().cumsum(1), (1, 0))
    energy = sums[:, window : window + lags] - sums[:, :lags]
    return (energy[:, :1] + energy - 2 * product).clamp(min=0)


def _refined(values: Tensor, lag: Tensor) -> Tensor:
    """The lag of the parabola's minimum through three neighbours (step 5)."""
    left, middle, right = (values.gather(1, (lag + by)[:, None])[:, 0] for by in (-1, 0, 1))
    curvature = left - 2 * middle + right
    shift = torch.where(curvature > 0, (left - right) / (2 * curvature.clamp(min=1e-12)), 0.0)
    return lag + shift.clamp(-0.5, 0.5)
