"""What is measured of clips, and that it falls when what it measures is spoilt."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from anylatent.data import Record
from anylatent.metrics.base import Evidence, TooFewSamples
from anylatent.metrics.frechet import Frechet
from anylatent.testing import Listed, MetricCase, MetricContract
from anylatent_video.features import ClipFeatures
from anylatent_video.modality import Video
from anylatent_video.motion_agreement import MotionAgreement
from anylatent_video.moving import Moving
from anylatent_video.stream import Stream, spectrum, temporal

FEATURES = ClipFeatures(steps=120, batch=16)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Held-out real clips in the place of samples; the network is trained here once."""
    data = Moving(count=360, test_share=0.25)
    train, test = data.build("train"), data.build("test")
    records = [test[i] for i in range(len(test))]
    asked = [record.conditions for record in records]
    evidence = Evidence(Video(data=data), [r.sample for r in records], asked, train, test, cache=tmp_path_factory.mktemp("cache"))
    FEATURES.trained(evidence)
    return evidence


class TestMotionAgreement(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        return MetricCase(MotionAgreement(), evidence)


class TestStream(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        return MetricCase(Stream(features=FEATURES, rounds=20), evidence)


class TestFrechetOnClipFeatures(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        return MetricCase(Frechet(features=FEATURES, rounds=20), evidence)


def test_real_clips_agree_with_what_they_are(evidence: Evidence) -> None:
    """Every one; asked for another's direction about a quarter; played backwards, only few; standing still, none."""
    (measure,) = MotionAgreement().compute(evidence)
    assert measure.value == measure.floor == 1.0
    backwards = replace(evidence, samples=[sample.flip(0) for sample in evidence.samples])
    assert MotionAgreement().compute(backwards)[0].value == 0.0
    still = replace(evidence, samples=[sample[:1].expand_as(sample) for sample in evidence.samples])
    (measure,) = MotionAgreement().compute(still)
    assert measure.value == 0.0
    assert f"still: {len(still.samples)}" in measure.note


def test_agreement_is_with_the_caption_where_no_direction_was_asked(evidence: Evidence) -> None:
    captions = replace(evidence, asked=[{"caption": asked["caption"]} for asked in evidence.asked])
    assert MotionAgreement().compute(captions)[0].value == 1.0
    others = replace(evidence, asked=[{"caption": "a red ball moving up"}] * len(evidence.asked))
    assert MotionAgreement().compute(others)[0].value < 0.5
    some = replace(evidence, asked=[asked if i % 2 else {"caption": "a ball"} for i, asked in enumerate(evidence.asked)])
    assert MotionAgreement().compute(some)[0].n == len(evidence.asked) // 2
    with pytest.raises(ValueError, match="needs samples that were asked for a 'direction', or for a 'caption' that ends with one of left"):
        MotionAgreement().compute(replace(evidence, asked=[{}] * len(evidence.asked)))


def test_agreement_survives_noise(evidence: Evidence) -> None:
    """Samples are not as clean as data: with noise of a twentieth of the range nearly all are still measured right."""
    generator = torch.Generator().manual_seed(0)
    noisy = [(sample + 0.1 * torch.randn(sample.shape, generator=generator)).clamp(-1, 1) for sample in evidence.samples]
    assert MotionAgreement().compute(replace(evidence, samples=noisy))[0].value > 0.95


def test_the_network_knows_the_direction(evidence: Evidence) -> None:
    trained = FEATURES.trained(evidence)
    assert set(trained.accuracy) == {"order", "direction", "sprite", "colour"}
    assert trained.accuracy["direction"] > 0.6, "chance is a quarter, and no frame alone tells"
    assert f"right on {trained.held_out} held-out real clips: order" in trained.note


def test_the_frechet_distance_sees_what_is_wrong_in_time(evidence: Evidence) -> None:
    """Backwards, frames are as they were: only a network that looks across them can tell. Shuffled is further than as they are."""
    metric = Frechet(features=FEATURES, rounds=20)
    (real,) = metric.compute(evidence)
    shuffled = [
        sample[torch.randperm(len(sample), generator=torch.Generator().manual_seed(i))] for i, sample in enumerate(evidence.samples)
    ]
    assert metric.compute(replace(evidence, samples=shuffled))[0].value > 1.5 * real.value


def test_stream_takes_time_and_space_apart(evidence: Evidence) -> None:
    """Frozen clips lose in time and keep their space; noisy ones lose in space."""
    metric = Stream(features=FEATURES, rounds=20)
    real = {measure.name: measure for measure in metric.compute(evidence)}
    assert real["stream-t"].floor is not None
    frozen = [sample[4:5].expand_as(sample).contiguous() for sample in evidence.samples]
    found = {measure.name: measure.value for measure in metric.compute(replace(evidence, samples=frozen))}
    assert found["stream-t"] < real["stream-t"].value / 2
    assert found["stream-f"] > 0.4
    generator = torch.Generator().manual_seed(0)
    noisy = [sample + torch.randn(sample.shape, generator=generator) for sample in evidence.samples]
    spoilt = {measure.name: measure.value for measure in metric.compute(replace(evidence, samples=noisy))}
    assert spoilt["stream-f"] < real["stream-f"].value / 2
    few = Listed([Record(sample, {}, str(i)) for i, sample in enumerate(evidence.samples[:39])])
    with pytest.raises(TooFewSamples, match="needs at least 40 real clips, given 39"):
        metric.compute(replace(evidence, train=few, test=Listed([])))


@pytest.mark.parametrize("frames", [4, 8, 15, 64])
def test_the_spectrum_of_a_known_signal(frames: int) -> None:
    """A constant has all in frequency 0; a law fitted to white spectra is flat, and its skewness that of the flat one."""
    constant, _ = spectrum(torch.full((1, frames, 2), 3.0))
    torch.testing.assert_close(constant, torch.full((1, 2), 3.0 * frames * 2 / (1 + frames // 2)))
    impulse = torch.zeros(1, frames, 1)
    impulse[0, 0] = 1
    frequency = torch.arange(1, 1 + frames // 2, dtype=torch.float64)
    expected = float(frequency.pow(3).mean() / frequency.square().mean() ** 1.5)
    assert float(spectrum(impulse)[1]) == pytest.approx(expected, rel=1e-4)


def test_equal_sets_agree_fully_in_time_and_short_clips_are_refused() -> None:
    values = torch.rand(60, 5, generator=torch.Generator().manual_seed(0))
    assert temporal(values, values.flip(0)) == pytest.approx(1.0)
    assert temporal(values, torch.full_like(values, 0.5)) < 0.1
    with pytest.raises(ValueError, match="expected clips of 4 frames or more, given 3"):
        spectrum(torch.zeros(2, 3, 4))


def test_networks_are_kept_and_made_again_when_damaged(evidence: Evidence, tmp_path: Path) -> None:
    """One file by fingerprint; read back it is the same network; damaged, it is trained anew to the same."""
    small, mine = ClipFeatures(steps=2, batch=4), replace(evidence, cache=tmp_path)
    first = small.compute(evidence.samples[:5], mine)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    assert torch.equal(small.compute(evidence.samples[:5], mine), first)
    path.write_bytes(content[: len(content) // 2])
    torch.testing.assert_close(small.compute(evidence.samples[:5], mine), first)
    assert small.fingerprint(evidence) != ClipFeatures(steps=3, batch=4).fingerprint(evidence)
    with pytest.raises(ValueError, match=r"video.features learns from the training clips, of which there is none"):
        small.trained(replace(mine, train=Listed([])))
