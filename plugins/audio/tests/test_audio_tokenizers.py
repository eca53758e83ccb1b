"""The tokenizers: their contracts, and what is left of a sound."""

import json
from functools import cache

import pytest
import torch

from anylatent.testing import TokenizerCase, TokenizerContract
from anylatent_audio.inversion import sound_of
from anylatent_audio.mel_config import MelConfig
from anylatent_audio.notes import Notes
from anylatent_audio.pitch_estimate import estimate_pitch
from anylatent_audio.sound import Sound
from anylatent_audio.spectral_distance import distances
from anylatent_audio.waveform_config import WaveformConfig

RATE = 8000
SMALL = MelConfig(window=512, hop=128, bins=48, frames=4, iterations=8)


def _tone(hertz: float, samples: int, rate: int = RATE) -> Sound:
    return Sound(0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(samples) / rate), rate)


@cache
def _notes(rate: int = RATE) -> tuple[Sound, ...]:
    test = Notes(rate=rate, instruments=("flute", "piano", "trumpet", "cello"), seconds=(0.5, 0.65)).build("test")
    return tuple(test[i].sample for i in range(0, len(test), 4))


BAD = [
    torch.zeros(100),
    "no sound",
    Sound(torch.zeros(100), 4000),
    Sound(torch.zeros(0), RATE),
    Sound(torch.full((90,), torch.nan), RATE),
    Sound(torch.full((90,), torch.inf), RATE),
]


class TestMel(TokenizerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        # Phases are lost: decoded sounds have about the same frames.
        return TokenizerCase(SMALL, _notes()[:8], bad=BAD, sizes={1: 1, 9: 9}, round_trip=None)


class TestMelOfVeryShortSounds(TokenizerContract):
    """Shorter than a token, and than a window."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        samples = [_tone(400 + 50 * i, n) for i, n in enumerate((1, 90, 513, 700, 2000))]
        config = MelConfig(window=512, hop=64, bins=24, frames=3, iterations=2)
        return TokenizerCase(config, samples, bad=["no sound"], sizes={5: 5}, round_trip=None)


class TestWaveform(TokenizerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        # Untrained, it decodes to something else than it was given.
        config = WaveformConfig(strides=(4, 4, 2), width=8, channels=6, crop=0.1)
        return TokenizerCase(config, [*_notes()[:5], _tone(300, 77)], bad=BAD, sizes={1: 1, 40: 40}, round_trip=None)


class TestRoundedWaveform(TokenizerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        config = WaveformConfig(strides=(8, 4), width=8, levels=(8, 5, 5), crop=0.1)
        constant = "untrained, two of three channels round to one value, which keeps its scale"
        return TokenizerCase(config, _notes()[:5], bad=BAD, sizes={3: 3}, round_trip=None, unnormalised=constant)


@pytest.mark.parametrize("kind", ["mel", "waveform"])
def test_sounds_are_as_long_as_was_asked(kind: str) -> None:
    """By the condition `duration`, or `seconds`, rounded up to a token; without them as training sounds were."""
    config = SMALL if kind == "mel" else WaveformConfig(strides=(8, 8, 8), width=8)
    tokenizer = config.build(_notes()[0])
    tokenizer.fit(list(_notes()[:6]))
    asked = [{"duration": 1.0}, {"duration": 0.05}, {}, {"seconds": 0.5, "pitch": 60}, {"duration": None}]
    sounds = tokenizer.decode(tokenizer.layout(torch.arange(5), asked))
    lengths = [len(sound) for sound in sounds]
    span = tokenizer.specs[0].axes[0].step * RATE
    assert lengths[:2] == [16 * 512, 512]
    assert lengths[3] == 8 * 512
    assert all(length in {-(-n // 512) * 512 for n in (4000, 5200)} for length in (lengths[2], lengths[4]))
    assert span == 512
    for bad in (0, -1.0, "long", 1e9):
        with pytest.raises(ValueError, match=r"duration .*: expected seconds, above 0 and at most 600"):
            tokenizer.layout(torch.arange(1), [{"duration": bad}])


def test_positions_are_seconds() -> None:
    tokenizer = SMALL.build(_notes()[0])
    state = tokenizer.encode([_tone(440, 2048)])
    assert state["sound"].positions[0, :, 0].tolist() == pytest.approx([0.032, 0.096, 0.16, 0.224])


def test_decoded_notes_keep_their_pitch_and_their_spectrum() -> None:
    """With the recipes' settings at 16 kHz, on held-out notes: all within a quarter tone, and near in four resolutions."""
    test = Notes().build("test")
    records = [test[i] for i in range(0, len(test), 12)]
    tokenizer = MelConfig().build(records[0].sample)
    tokenizer.fit([record.sample for record in records])
    decoded = tokenizer.decode(tokenizer.encode([record.sample for record in records]))
    for record, sound in zip(records, decoded, strict=True):
        assert estimate_pitch(sound) == pytest.approx(record.conditions["pitch"], abs=0.5), record.id
    convergence = sum(distances(r.sample, s)[0] for r, s in zip(records, decoded, strict=True)) / len(records)
    assert convergence < 0.25


def test_phases_are_found_without_any_iteration() -> None:
    """Of two steady tones, from magnitudes alone: both at their frequency, with little else; more rounds come nearer."""
    tone = (_tone(440, 8192).samples + _tone(1234, 8192).samples) / 2
    window = torch.hann_window(512)
    magnitudes = torch.stft(tone, 512, 128, window=window, return_complex=True).abs()
    off = []
    for iterations in (0, 30):
        made = sound_of(magnitudes, window, 128, iterations)
        again = torch.stft(made, 512, 128, window=window, return_complex=True).abs()
        off.append(float((again - magnitudes).norm() / magnitudes.norm()))
        spectrum = torch.fft.rfft(made[1024:7168] * torch.hann_window(6144)).abs()
        peaks = sorted(spectrum[i - 20 : i + 21].argmax().item() + i - 20 for i in (338, 948))
        assert peaks == pytest.approx([440 * 6144 / RATE, 1234 * 6144 / RATE], abs=1.5)
    assert off[1] < off[0] < 0.35
    assert off[1] < 0.15


def test_silence_stays_silent() -> None:
    tokenizer = SMALL.build(_notes()[0])
    tokenizer.fit(list(_notes()[:4]))
    (sound,) = tokenizer.decode(tokenizer.encode([Sound(torch.zeros(4096), RATE)]))
    assert sound.samples.abs().max() < 1e-3


def test_bands_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\d+ of 256 mel bands are narrower .* fewer `bins` or a longer `window`"):
        MelConfig(window=256, hop=64, bins=256).build(_notes()[0])
    with pytest.raises(ValueError, match="hop 512 is more than a quarter of window 1024"):
        MelConfig(hop=512)


def test_other_rates_and_other_things_are_refused() -> None:
    for config in (SMALL, WaveformConfig(strides=(8,), width=8)):
        with pytest.raises(ValueError, match=rf"tokenizer '{config.kind}' takes sounds .*, given float32 of shape \(5,\)"):
            config.build(torch.zeros(5))
        tokenizer = config.build(_notes()[0])
        with pytest.raises(ValueError, match="sounds at 44100 Hz, given sounds at 8000 Hz"):
            tokenizer.restore(json.loads('{"rate": 44100, "sizes": [[1, 1]]}'))
        with pytest.raises(ValueError, match=r"sample 0: expected a Sound at 8000 Hz .* given a Sound at 16000 Hz"):
            tokenizer.encode([_tone(300, 500, 16000)])


def test_the_waveform_autoencoder_learns() -> None:
    """In 80 steps on short tones, held-out ones come back with less than half of their error at the start."""
    tones = [_tone(200 + 7.3 * i, 512) for i in range(60)]
    held_out = [_tone(210 + 31.1 * i, 512) for i in range(12)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = WaveformConfig(strides=(4, 4), width=16, channels=8, crop=0.064).build(tones[0])

    def error() -> float:
        tokenizer.fit(tones)
        decoded = tokenizer.decode(tokenizer.encode(held_out))
        return sum(float((a.samples - b.samples).abs().mean()) for a, b in zip(held_out, decoded, strict=True))

    before, optimizer = error(), torch.optim.AdamW(tokenizer.parameters(), 3e-3)
    for step in range(80):
        batch = [tones[(17 * step + 7 * i) % 60] for i in range(8)]
        loss = tokenizer.loss(batch, torch.arange(8) + 8 * step)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert error() < before / 2


def test_rounded_latents_have_few_values() -> None:
    """As many a channel as `levels` says, at most; and what is generated between them is rounded when decoded."""
    tokenizer = WaveformConfig(strides=(8, 4), width=8, levels=(4, 3)).build(_notes()[0])
    tokenizer.fit(list(_notes()[:5]))
    values = tokenizer.encode(list(_notes()[:5]))["sound"]
    valid = tokenizer.statistics.restore(values.values)[values.mask]
    assert set(valid[:, 0].mul(2).round().tolist()) <= {-3, -1, 1, 3}
    assert set(valid[:, 1].round().tolist()) <= {-1, 0, 1}
    torch.testing.assert_close(valid[:, 1], valid[:, 1].round(), atol=1e-5, rtol=0)
