"""Log-mel frames as tokens."""

import warnings
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import torch

from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State
from anylatent.tokenizers.arrays import chunks
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.sizes import Size
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Float, Tensor
from anylatent_audio.inversion import sound_of, spectrum_of
from anylatent_audio.mel_config import MelConfig
from anylatent_audio.sound import Sound
from anylatent_audio.sound_tokens import STREAM, axis_of, check_example, check_sound, empty_sounds, sizes_of, stream_of
from anylatent_audio.torchaudio_fallback import load

_STEPS = 60
"""Of the non-negative inversion of the mel bands; the error no longer falls after some forty."""


class Mel(Tokenizer):
    """Sounds to tokens of `frames` log-mel frames each, and back. A sound is as long as a whole number of tokens.

    Tokens are centred a channel and share one scale, so that bands which are always silent stay quiet. What decoding
    loses is phase, and what mel bands cannot tell apart; `audio.spectral-distance` measures it.
    """

    config: MelConfig
    bands: Tensor
    window: Tensor

    def __init__(self, config: MelConfig, example: Any) -> None:
        super().__init__(config)
        self.rate = check_example(example, "audio.mel")
        self.facts = {"rate": self.rate, "sizes": [[1, 1]]}
        bands = _bands(config, self.rate)
        narrow = int((bands.sum(0) == 0).sum())
        if narrow:
            raise ValueError(
                f"{narrow} of {config.bins} mel bands are narrower than a frequency of window {config.window} at {self.rate} Hz: "
                "ask for fewer `bins` or a longer `window`"
            )
        self.register_buffer("bands", bands.T.contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(config.window), persistent=False)
        self.statistics = Statistics(config.bins * config.frames)

    @property
    def span(self) -> int:
        """Samples of a token."""
        return self.config.hop * self.config.frames

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        return (StreamSpec(name=STREAM, width=self.config.bins * self.config.frames, axes=self.size_axes, order="sequence"),)

    @property
    def size_axes(self) -> tuple[AxisSpec, ...]:
        return (axis_of(self.span, self.rate),)

    def restore(self, facts: Mapping[str, Any]) -> None:
        if facts["rate"] != self.rate:
            raise ValueError(f"this tokenizer was fitted to sounds at {facts['rate']} Hz, given sounds at {self.rate} Hz")
        super().restore(facts)

    @torch.no_grad()
    def fit(self, samples: Sequence[Any]) -> None:
        """Lengths, and the mean and scale of the tokens."""
        self.facts["sizes"] = sizes_of([check_sound(sample, i, self.rate) for i, sample in enumerate(samples)], self.span)
        self.statistics = Statistics(self.specs[0].width).to(self.statistics.mean.device)
        streams = (self.encode(chunk)[STREAM] for chunk in chunks(samples))
        self.statistics.measure_batches(((stream.values, stream.mask) for stream in streams), per_channel=False)

    @torch.no_grad()
    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        rows = [self._tokens(check_sound(sample, index, self.rate)) for index, sample in enumerate(samples)]
        stream = stream_of(rows, self.span / self.rate)
        values = self.statistics.normalise(stream.values) * stream.mask[..., None]
        return State.of({STREAM: type(stream).of(values, stream.positions, stream.mask)}, seeds)

    @torch.no_grad()
    def decode(self, state: State) -> list[Sound]:
        stream = state[STREAM]
        values = self.statistics.restore(stream.values)
        # Row by row: phase reconstruction would let rounding differ with the batch.
        return [self._sound(row[mask]) for row, mask in zip(values, stream.mask, strict=True)]

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        """`size`: tokens; else as long as `duration` asks, or as drawn."""
        return empty_sounds(self.facts["sizes"], self.span, self.rate, self.specs[0].width, seeds, conditions, size)

    def _tokens(self, sound: Sound) -> Float[Tensor, "tokens width"]:
        """Log-mel frames, 0 at the floor and 1 at a full-scale sine, `frames` after another."""
        samples = sound.samples.to(self.window.device)
        samples = torch.nn.functional.pad(samples, (0, ceil(len(samples) / self.span) * self.span - len(samples)))
        spectrum = spectrum_of(samples, self.window, self.config.hop)
        frames = len(samples) // self.config.hop
        power = self.bands @ (spectrum[:, :frames].abs() * (2 / self.window.sum())).square()
        level = (10 * power.clamp(min=1e-12).log10()).clamp(min=self.config.floor)
        return (1 - level / self.config.floor).T.reshape(-1, self.specs[0].width)

    def _sound(self, tokens: Float[Tensor, "tokens width"]) -> Sound:
        level = self.config.floor * (1 - tokens.reshape(-1, self.config.bins).T)
        power = torch.where(level > self.config.floor, 10 ** (level.clamp(max=20) / 10), 0.0)
        power = torch.cat((power, power[:, -1:]), 1)  # a last frame, at the very end
        magnitudes = self._unmixed(power).sqrt() * (self.window.sum() / 2)
        samples = sound_of(magnitudes, self.window, self.config.hop, self.config.iterations)
        return Sound(samples.clamp(-1, 1).cpu(), self.rate)

    def _unmixed(self, power: Float[Tensor, "bands frames"]) -> Float[Tensor, "bins frames"]:
        """Powers of the frequencies that give these bands: non-negative, by multiplicative updates (Lee and Seung 2000, eq. 4)."""
        bands = self.bands
        reached = bands.sum(1, keepdim=True)
        guess = bands.T @ (power / reached) / bands.sum(0)[:, None].clamp(min=1e-6)
        share = bands.sum(0)[:, None].clamp(min=1e-6)
        for _ in range(_STEPS):
            guess = guess * (bands.T @ (power / (bands @ guess).clamp(min=1e-12))) / share
        return guess


def _bands(config: MelConfig, rate: int) -> Float[Tensor, "bins bands"]:
    """Triangles of height 1, evenly spaced in mel (O'Shaughnessy 1987): fine below 1 kHz, where pitch is heard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty bands: they are refused by name
        return load().functional.melscale_fbanks(config.window // 2 + 1, 0.0, rate / 2, config.bins, rate)
