"""From magnitudes to a sound: phases by a guess from the spectral peaks, refined by fast Griffin-Lim."""

import math

import torch

from anylatent.types import Float, Shaped, Tensor

_MOMENTUM = 0.99


def spectrum_of(samples: Float[Tensor, " time"], window: Float[Tensor, " window"], hop: int) -> Shaped[Tensor, "bins frames"]:
    """The short-time Fourier transform, frame k centred at sample `k hop`; silence lies around the sound."""
    return torch.stft(samples, len(window), hop, window=window, pad_mode="constant", return_complex=True)


def sound_of(
    magnitudes: Float[Tensor, "bins frames"], window: Float[Tensor, " window"], hop: int, iterations: int
) -> Float[Tensor, " time"]:
    """A sound of `(frames - 1) * hop` samples whose short-time Fourier transform has about these magnitudes.

    Fast Griffin-Lim (Griffin and Lim 1984; Perraudin, Balazs and Søndergaard 2013, algorithm 2), started from
    `phases_of`. No randomness: the same magnitudes give the same sound.
    """
    size, length = len(window), (magnitudes.shape[1] - 1) * hop
    spectrum = torch.polar(magnitudes, phases_of(magnitudes, size, hop))
    previous = torch.zeros_like(spectrum)
    for _ in range(iterations):
        consistent = spectrum_of(torch.istft(spectrum, size, hop, window=window, length=length), window, hop)
        pushed = consistent + _MOMENTUM * (consistent - previous)
        spectrum, previous = magnitudes * pushed / pushed.abs().clamp(min=1e-12), consistent
    return torch.istft(spectrum, size, hop, window=window, length=length)


def phases_of(magnitudes: Float[Tensor, "bins frames"], window: int, hop: int) -> Float[Tensor, "bins frames"]:
    """Phases as if each spectral peak were one sinusoid that goes on (Beauregard, Harish and Wyse 2015, "Single pass
    spectrogram inversion"): its frequency by a parabola through three log magnitudes, its neighbours in step with it.
    """
    bins, _ = magnitudes.shape
    log = magnitudes.clamp(min=1e-9).log()
    left, middle, right = log[:-2], log[1:-1], log[2:]
    is_peak = torch.nn.functional.pad((middle > left) & (middle >= right), (0, 0, 1, 1))
    curvature = (left - 2 * middle + right).clamp(max=-1e-6)
    shift = torch.nn.functional.pad((0.5 * (left - right) / curvature).clamp(-0.5, 0.5), (0, 0, 1, 1))
    index = torch.arange(bins, device=magnitudes.device)
    owner = _nearest_peak(is_peak)
    frequency = (index[:, None] + shift).gather(0, owner)  # in bins, of the peak that a bin belongs to
    advance = 2 * math.pi * hop / window * frequency
    phase = advance.double().cumsum(1) - advance.double()
    # Neighbours of a peak alternate in sign: the window begins half of itself before the frame's middle.
    return (phase + math.pi * (index[:, None] - owner).abs()).remainder(2 * math.pi).float()


def _nearest_peak(is_peak: Tensor) -> Tensor:
    """For each bin of each frame, the nearest bin that is a peak; itself, if there is none."""
    bins = len(is_peak)
    index = torch.arange(bins, device=is_peak.device)[:, None].expand_as(is_peak)
    below = index.masked_fill(~is_peak, -2 * bins).cummax(0).values
    above = index.masked_fill(~is_peak, 3 * bins).flip(0).cummin(0).values.flip(0)
    nearest = torch.where(index - below <= above - index, below, above)
    return torch.where(is_peak.any(0), nearest, index).clamp(0, bins - 1)
