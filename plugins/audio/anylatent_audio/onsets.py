"""When something begins to sound: peaks of the spectral flux."""

import torch

from anylatent.types import Float, Tensor
from anylatent_audio.sound import Sound

_WINDOW, _HOP = 0.02, 0.005
"""Seconds of a frame, and between two."""
_EARLY = 0.75
"""Hops from an onset to the end of the frame in which it first shows: the window's end is tapered."""
_RISE = 0.12
"""Of the largest flux: how much a peak must stand out."""
_APART = 0.06
"""Seconds between two onsets at least."""


def onsets(sound: Sound) -> list[float]:
    """Times in seconds: where the half-wave rectified difference of log magnitudes peaks (Dixon 2006, "Onset detection revisited").

    Silence has none. Two strikes within 60 ms count as one.
    """
    flux = _flux(sound)
    if not len(flux) or float(flux.max()) < 1.0:
        return []
    reach = round(_APART / _HOP)
    around = torch.nn.functional.max_pool1d(flux[None, None], 2 * reach + 1, 1, reach)[0, 0]
    level = torch.nn.functional.avg_pool1d(flux[None, None], 4 * reach + 1, 1, 2 * reach, count_include_pad=False)[0, 0]
    peaks = (flux == around) & (flux > level + _RISE * flux.max())
    return [max(0.0, round((int(k) - _EARLY) * _HOP, 4)) for k in peaks.nonzero()[:, 0]]


def _flux(sound: Sound) -> Float[Tensor, " frames"]:
    """The mean rise of log(1 + 1000 |X|) over the frequencies, from each frame to the next; silence lies before the first."""
    window, hop = int(_WINDOW * sound.rate), int(_HOP * sound.rate)
    # Not behind it: an end that is cut off is no onset.
    samples = torch.nn.functional.pad(sound.samples.detach().cpu(), (window, 0))
    shape = torch.hann_window(window)
    samples = torch.nn.functional.pad(samples, (0, max(0, window + hop - len(samples))))
    magnitudes = torch.fft.rfft(samples.unfold(0, window, hop) * shape).abs() * 2 / shape.sum()
    rise = (1 + 1000 * magnitudes).log().diff(dim=0).clamp(min=0)
    return rise.mean(1) * 10
