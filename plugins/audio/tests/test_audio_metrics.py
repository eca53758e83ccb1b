"""The pitch estimator and the metrics."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from anylatent.metrics.base import Evidence
from anylatent.metrics.frechet import Frechet
from anylatent.testing import Listed, MetricCase, MetricContract
from anylatent_audio.features import Cepstra
from anylatent_audio.mel_config import MelConfig
from anylatent_audio.modality import Audio
from anylatent_audio.notes import Notes
from anylatent_audio.pitch_estimate import estimate_pitch
from anylatent_audio.pitch_metric import Pitch
from anylatent_audio.pitch_names import frequency, pitch_name
from anylatent_audio.sound import Sound
from anylatent_audio.spectral_distance import SpectralDistance, distances

DATA = Notes(instruments=("flute", "trumpet", "harp"), lowest=55, highest=79, velocities=(90,), seconds=(0.4,), rate=8000, test_share=0.4)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Held-out real notes in the place of samples."""
    train, test = DATA.build("train"), DATA.build("test")
    records = [test[i] for i in range(len(test))]
    tokenizer = MelConfig(window=512, hop=128, bins=48, iterations=4).build(records[0].sample)
    tokenizer.fit([record.sample for record in records])
    samples, asked = [r.sample for r in records], [dict(r.conditions) for r in records]
    return Evidence(Audio(data=DATA), samples, asked, train, test, tokenizer, cache=tmp_path_factory.mktemp("cache"))


class TestPitch(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        return MetricCase(Pitch(), replace(evidence, samples=evidence.samples[:14], asked=evidence.asked[:14]))


class TestSpectralDistance(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        return MetricCase(SpectralDistance(), replace(evidence, samples=evidence.samples[:12], asked=evidence.asked[:12]))


class TestFrechet(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        few = replace(evidence, samples=evidence.samples[:20], asked=evidence.asked[:20])
        return MetricCase(Frechet(features=Cepstra(coefficients=4), rounds=20), few)


def test_pitches_have_frequencies_and_names() -> None:
    assert frequency(69) == 440
    assert frequency(60) == pytest.approx(261.63, abs=0.01)
    assert [pitch_name(p) for p in (48, 60, 61, 69)] == ["C3", "C4", "C#4", "A4"]


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_tones_are_estimated_to_a_few_cents(rate: int) -> None:
    """Pure and rich ones, without their fundamental too, over four octaves."""
    t = torch.arange(rate // 2) / rate
    for pitch in (40.0, 52.3, 64.0, 75.7, 88.0):
        for partials in ((1,), (1, 2, 3, 4), (2, 3, 4, 5)):
            tone = sum(torch.sin(2 * torch.pi * k * frequency(pitch) * t) / k for k in partials if k * frequency(pitch) < rate / 2.2)
            assert estimate_pitch(Sound(0.3 * torch.as_tensor(tone), rate)) == pytest.approx(pitch, abs=0.1), (pitch, partials)


def test_noise_silence_and_what_is_too_short_have_no_pitch() -> None:
    noise = torch.randn(8000, generator=torch.Generator().manual_seed(0)) * 0.2
    assert estimate_pitch(Sound(noise, 16000)) is None
    assert estimate_pitch(Sound(torch.zeros(8000), 16000)) is None
    assert estimate_pitch(Sound(torch.ones(10), 16000)) is None


def test_torchaudio_estimates_the_same() -> None:
    """Its own method (normalised cross-correlation) on real notes: the same note in two of three, in whichever octave.

    It counts whole samples (a semitone is right) and often takes another octave.
    """
    from anylatent_audio.torchaudio_fallback import load

    config = Notes(instruments=("flute", "trumpet", "cello"), lowest=55, highest=79, velocities=(100,), seconds=(0.6,), test_share=0.4)
    data = config.build("test")
    near = []
    for index in range(len(data)):
        sound = data[index].sample
        hertz = load().functional.detect_pitch_frequency(sound.samples[None], sound.rate, freq_low=85, freq_high=2000)[0].median()
        mine = estimate_pitch(sound)
        apart = 69 + 12 * float(torch.log2(hertz / 440)) - (mine or 0)
        near.append(abs((apart + 6) % 12 - 6) < 1)
    assert len(near) > 20
    assert sum(near) / len(near) > 2 / 3, "one in six would be chance"


def test_real_notes_have_their_pitch_and_others_do_not(evidence: Evidence) -> None:
    (measure,) = Pitch().compute(evidence)
    assert measure.value > 0.95
    assert measure.floor == measure.value
    assert "control: " in measure.note
    higher = replace(evidence, asked=[{"pitch": asked["pitch"] + 1} for asked in evidence.asked])
    assert Pitch().compute(higher)[0].value < 0.02
    assert Pitch(cents=120).compute(higher)[0].value > 0.95
    with pytest.raises(ValueError, match="judges samples by the condition 'pitch', which none of them was asked for"):
        Pitch().compute(replace(evidence, asked=[{}] * len(evidence.samples)))


def test_distances_are_0_for_the_same_and_grow_with_noise() -> None:
    sound = DATA.build("train")[0].sample
    assert distances(sound, sound) == (0.0, 0.0)
    noise = torch.randn(len(sound), generator=torch.Generator().manual_seed(0))
    slight, strong = (distances(sound, Sound(sound.samples + size * noise, sound.rate)) for size in (1e-3, 1e-2))
    assert 0 < slight[0] < strong[0]
    assert 0 < slight[1] < strong[1]
    longer = Sound(torch.cat((sound.samples, torch.ones(500))), sound.rate)
    assert distances(sound, longer)[0] < 1e-6, "what a token adds behind the end is not judged"


def test_the_spectral_distance_needs_a_tokenizer(evidence: Evidence) -> None:
    with pytest.raises(ValueError, match="judges the run's tokenizer, and none was given"):
        SpectralDistance().compute(replace(evidence, tokenizer=None))


def test_features_tell_instruments_apart(evidence: Evidence, tmp_path: Path) -> None:
    """Another instrument is farther than the same, by the Fréchet distance; the fingerprint is of description and data."""
    features = Cepstra(coefficients=4)

    def only(*names: str) -> list[Sound]:
        return [s for s, asked in zip(evidence.samples, evidence.asked, strict=True) if asked["instrument"] in names]

    def distance(samples: list[Sound]) -> float:
        return Frechet(features=features, rounds=20).compute(replace(evidence, samples=samples, asked=[{}] * len(samples)))[0].value

    assert distance(only("harp") * 2) > 2 * distance(list(evidence.samples)[:20])
    vectors = features.compute([evidence.train[i].sample for i in range(len(evidence.train))], evidence)
    torch.testing.assert_close(vectors.std(0, correction=0).mean(), torch.tensor(1.0), atol=0.15, rtol=0)  # durations are all alike
    assert features.fingerprint(evidence) != Cepstra().fingerprint(evidence)
    other = replace(evidence, train=Listed([evidence.train[i] for i in range(12)]))
    assert features.fingerprint(other) != features.fingerprint(evidence)
