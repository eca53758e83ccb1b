"""An autoencoder of the waveform: strided convolutions down to latent tokens, and back."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from anylatent import random
from anylatent.nn.transformer import bounded_log_variance, gaussian_kl
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State
from anylatent.tokenizers.arrays import chunks
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.sizes import Size
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Float, Int, Tensor
from anylatent_audio.sound import Sound
from anylatent_audio.sound_tokens import STREAM, axis_of, check_example, check_sound, empty_sounds, sizes_of, stream_of
from anylatent_audio.waveform_config import WaveformConfig
from anylatent_audio.waveform_network import Decoder, Encoder, spectral_loss


class Waveform(Tokenizer):
    """Sounds to tokens of `span` samples each, and back. A sound is as long as a whole number of tokens.

    Convolutions see nothing beyond a sound's end: padding is silenced after every layer. Latents are normalised a channel.
    """

    config: WaveformConfig
    loudness: Tensor

    def __init__(self, config: WaveformConfig, example: Any) -> None:
        super().__init__(config)
        self.rate = check_example(example, "audio.waveform")
        self.facts = {"rate": self.rate, "sizes": [[1, 1]]}
        self.encoder = Encoder(config.strides, config.width, config.latent if config.levels else 2 * config.latent)
        self.decoder = Decoder(config.strides, config.width, config.latent)
        self.statistics = Statistics(config.latent)
        self.register_buffer("loudness", torch.tensor(0.1))

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        return (StreamSpec(name=STREAM, width=self.config.latent, axes=self.size_axes, order="sequence"),)

    @property
    def size_axes(self) -> tuple[AxisSpec, ...]:
        return (axis_of(self.config.span, self.rate),)

    @property
    def trainable(self) -> bool:
        return True

    def restore(self, facts: Mapping[str, Any]) -> None:
        if facts["rate"] != self.rate:
            raise ValueError(f"this tokenizer was trained on sounds at {facts['rate']} Hz, given sounds at {self.rate} Hz")
        super().restore(facts)

    def prepare(self, samples: Sequence[Any]) -> None:
        """How loud sounds are (root mean square): the networks see them in units of it."""
        checked = [check_sound(sample, index, self.rate).samples.double() for index, sample in enumerate(samples)]
        squares, count = sum(float(x.square().sum()) for x in checked), sum(len(x) for x in checked)
        self.loudness.fill_(max((squares / count) ** 0.5, 1e-4))

    def loss(self, samples: Sequence[Any], seeds: Tensor) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        """Spectral loss + waveform_weight times the relative error |x - x'| / |x| + kl_weight KL, on a stretch drawn by row seed."""
        checked = [check_sound(sample, index, self.rate) for index, sample in enumerate(samples)]
        wave, tokens = self._padded(self._stretches(checked, seeds))
        latents, divergence = self._latents(self.encoder(wave / self.loudness, tokens), seeds)
        restored = self.decoder(latents, tokens) * self.loudness
        lengths = tokens * self.config.span
        inside = torch.arange(wave.shape[1], device=wave.device)[None] < lengths[:, None]
        squared = ((restored - wave).square() * inside).sum(1) + 1e-8 * lengths
        error = (squared / (wave.square().sum(1) + 1e-6 * lengths)).sqrt()
        spectral = spectral_loss(restored * inside, wave, lengths)
        present = inside[:, :: self.config.span].float()
        kl = (divergence.mean(-1) * present).sum(1) / tokens
        loss = spectral + self.config.waveform_weight * error + self.config.kl_weight * kl
        return loss, {"spectral": spectral.mean(), "error": error.mean(), "kl": kl.mean()}

    @torch.no_grad()
    def fit(self, samples: Sequence[Any]) -> None:
        """Lengths, and the latents' mean and standard deviation a channel."""
        self.facts["sizes"] = sizes_of([check_sound(sample, i, self.rate) for i, sample in enumerate(samples)], self.config.span)
        self.statistics = Statistics(self.config.latent).to(self.statistics.mean.device)
        streams = (self.encode(chunk)[STREAM] for chunk in chunks(samples))
        self.statistics.measure_batches((stream.values, stream.mask) for stream in streams)

    @torch.no_grad()
    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        """Latents; with seeds a draw of the Gaussian ones."""
        wave, tokens = self._padded([check_sound(sample, index, self.rate).samples for index, sample in enumerate(samples)])
        latents, _ = self._latents(self.encoder(wave / self.loudness, tokens), seeds)
        rows = [row[:count] for row, count in zip(self.statistics.normalise(latents), tokens.tolist(), strict=True)]
        stream = stream_of(rows, self._step)
        return State.of({STREAM: stream}, seeds)

    @torch.no_grad()
    def decode(self, state: State) -> list[Sound]:
        stream = state[STREAM]
        latents = self.statistics.restore(stream.values) * stream.mask[..., None]
        counts = stream.mask.sum(1)
        waves = self.decoder(self._rounded(latents) if self.config.levels else latents, counts) * self.loudness
        spans = (counts * self.config.span).tolist()
        return [Sound(wave[:length].clamp(-1, 1).cpu().clone(), self.rate) for wave, length in zip(waves, spans, strict=True)]

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        """`size`: tokens; else as long as `duration` asks, or as drawn."""
        return empty_sounds(self.facts["sizes"], self.config.span, self.rate, self.config.latent, seeds, conditions, size)

    @property
    def _step(self) -> float:
        return self.config.span / self.rate

    def _stretches(self, sounds: Sequence[Sound], seeds: Tensor) -> list[Tensor]:
        """`crop` seconds of each sound, from a place drawn by row seed; short sounds whole."""
        length = ceil(self.config.crop * self.rate / self.config.span) * self.config.span
        places = random.uniform(seeds.cpu(), "audio.waveform/crop", 0, 0, 1)[:, 0].tolist()
        firsts = [int(place * max(0, len(sound) - length + 1)) for place, sound in zip(places, sounds, strict=True)]
        return [sound.samples[first : first + length] for first, sound in zip(firsts, sounds, strict=True)]

    def _padded(self, waves: Sequence[Tensor]) -> tuple[Float[Tensor, "rows time"], Int[Tensor, " rows"]]:
        """One tensor of whole tokens, and how many tokens each row has."""
        span, device = self.config.span, self.statistics.mean.device
        tokens = torch.tensor([ceil(len(wave) / span) for wave in waves], device=device)
        padded = nn.utils.rnn.pad_sequence(list(waves), batch_first=True).to(device)
        return F.pad(padded, (0, int(tokens.max()) * span - padded.shape[1])), tokens

    def _latents(self, raw: Float[Tensor, "rows tokens numbers"], seeds: Tensor | None) -> tuple[Tensor, Tensor]:
        """Latents, and what they cost to code (0 for rounded ones)."""
        if self.config.levels:
            latents = self._rounded(self._bounded(raw))
            return latents, torch.zeros_like(latents)
        mean, log_variance = raw.chunk(2, -1)
        log_variance = bounded_log_variance(log_variance)
        divergence = gaussian_kl(mean, log_variance)
        if seeds is None:
            return mean, divergence
        noise = random.normal(seeds.to(mean.device), "audio.waveform", 0, 0, mean.shape[1], mean.shape[2])
        return mean + (0.5 * log_variance).exp() * noise, divergence

    def _bounded(self, raw: Tensor) -> Tensor:
        return torch.tanh(raw) * (self._levels(raw) - 1) / 2

    def _rounded(self, latents: Tensor) -> Tensor:
        """To the nearest of `levels` values a channel; gradients pass as if it were not (Mentzer et al. 2023, section 3.1)."""
        half = (self._levels(latents) - 1) / 2
        offset = half - half.floor()  # an even number of levels lies between the whole numbers
        nearest = ((latents - offset).round() + offset).clamp(min=-half, max=half)
        return latents + (nearest - latents).detach()

    def _levels(self, like: Tensor) -> Tensor:
        return torch.tensor(self.config.levels, dtype=like.dtype, device=like.device)
