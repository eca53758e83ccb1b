"""The classifier that metrics look through, and what is measured with it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from anylatent.data import Record
from anylatent.metrics.base import Evidence, TooFewSamples
from anylatent.metrics.frechet import Frechet
from anylatent.testing import Listed, MetricCase, MetricContract
from anylatent_image.class_agreement import ClassAgreement
from anylatent_image.classifier import Classifier
from anylatent_image.digits import Digits
from anylatent_image.modality import Image


def _evidence(cache: Path) -> Evidence:
    """Held-out real digits in the place of samples."""
    train, test = Digits().build("train"), Digits().build("test")
    records = [test[i] for i in range(len(test))]
    return Evidence(Image(data=Digits()), [r.sample for r in records], [r.conditions for r in records], train, test, cache=cache)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """With the classifier as recipes have it, trained here once."""
    evidence = _evidence(tmp_path_factory.mktemp("cache"))
    Classifier().trained(evidence)
    return evidence


class TestClassAgreement(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        return MetricCase(ClassAgreement(), evidence)


class TestFrechetOnClassifierFeatures(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        return MetricCase(Frechet(features=Classifier(), rounds=20), evidence)


def test_the_classifier_knows_held_out_digits(evidence: Evidence) -> None:
    """97 % at least; it says so itself, and counts what it says."""
    trained = Classifier().trained(evidence)
    guesses = trained.classes(evidence.samples)
    accuracy = sum(guess == asked["label"] for guess, asked in zip(guesses, evidence.asked)) / len(guesses)
    assert accuracy == trained.accuracy >= 0.97
    assert trained.note == f"the classifier is right on {accuracy:.1%} of 355 held-out real images"


def test_agreement_is_the_share_of_right_classes(evidence: Evidence) -> None:
    """Real digits agree as often as the classifier is right; asked for the next digit instead, as often as it is wrong that way."""
    (measure,) = ClassAgreement().compute(evidence)
    assert measure.value == measure.floor == Classifier().trained(evidence).accuracy
    assert "held-out real images" in measure.note
    others = replace(evidence, asked=[{"label": (asked["label"] + 1) % 10} for asked in evidence.asked])
    assert ClassAgreement().compute(others)[0].value < 0.03
    half = replace(evidence, asked=[asked if i % 2 else {} for i, asked in enumerate(evidence.asked)])
    assert ClassAgreement().compute(half)[0].n == len(evidence.samples) // 2, "samples that were asked nothing are not judged"


def test_features_are_centred_with_unit_variance_on_training_images(evidence: Evidence) -> None:
    samples = [evidence.train[i].sample for i in range(len(evidence.train))]
    features = Classifier().compute(samples, evidence)
    assert features.shape == (len(samples), 64)
    torch.testing.assert_close(features.mean(0), torch.zeros(64), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.square().mean(), torch.tensor(1.0), atol=1e-4, rtol=0)


def test_features_put_like_with_like(evidence: Evidence) -> None:
    """The nearest other digit is of the same class, far more often than by pixels alone is guaranteed."""
    features = Classifier().compute(evidence.samples, evidence)
    nearest = (torch.cdist(features, features) + 1e6 * torch.eye(len(features))).argmin(1).tolist()
    same = sum(evidence.asked[i]["label"] == evidence.asked[j]["label"] for i, j in enumerate(nearest))
    assert same / len(nearest) > 0.97


def test_the_network_is_kept_by_fingerprint(tmp_path: Path) -> None:
    """Trained once for a description and a training set; another description, or other data, trains another."""
    evidence, quick = _evidence(tmp_path), Classifier(steps=3)
    first = quick.compute(evidence.samples, evidence)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    assert torch.equal(quick.compute(evidence.samples, evidence), first)
    assert file.stat().st_mtime_ns == written, "it was trained again"
    Classifier(steps=4).trained(evidence)
    fewer = replace(evidence, train=Listed([evidence.train[i] for i in range(100)]))
    assert quick.fingerprint(fewer) != quick.fingerprint(evidence)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_network_is_trained_again(tmp_path: Path) -> None:
    """The same one: training is a function of description and data."""
    evidence, quick = _evidence(tmp_path), Classifier(steps=3)
    first = quick.compute(evidence.samples, evidence)
    (file,) = tmp_path.iterdir()
    for damage in (file.read_bytes()[:500], b"\x80\x04pickle"):
        file.write_bytes(damage)
        torch.testing.assert_close(quick.compute(evidence.samples, evidence), first)
    assert file.stat().st_size > 1000


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Classifier(steps=1).trained(_evidence(tmp_path))
    assert torch.equal(torch.rand(3), expected)


def test_names_are_classes_too(tmp_path: Path) -> None:
    """Labels may be words, under any name; images may be larger, and in colour."""
    generator = torch.Generator().manual_seed(0)
    colours = {"red": [1.0, -1.0, -1.0], "green": [-1.0, 1.0, -1.0], "blue": [-1.0, -1.0, 1.0]}

    def shades(count: int) -> Listed:
        brightness = torch.rand(count, 20, 28, 1, generator=generator)
        return Listed(
            [Record(torch.tensor(colours[name]) * x, {"shade": name}, f"{name} {i}") for name in colours for i, x in enumerate(brightness)]
        )

    train, test = shades(20), shades(5)
    samples, asked = [record.sample for record in test.records], [record.conditions for record in test.records]
    evidence = Evidence(Image(data=Digits()), samples, asked, train, test, cache=tmp_path)
    metric = ClassAgreement(features=Classifier(condition="shade", steps=40, batch=16))
    assert metric.compute(evidence)[0].value == 1.0


def test_what_cannot_be_judged_is_refused(evidence: Evidence, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="judges samples by the condition 'label', which none of them was asked for"):
        ClassAgreement().compute(replace(evidence, asked=[{}] * len(evidence.samples)))
    with pytest.raises(TooFewSamples, match="at least 10 samples, given 9"):
        ClassAgreement().compute(replace(evidence, samples=evidence.samples[:9], asked=evidence.asked[:9]))
    with pytest.raises(ValueError, match="learns from the condition 'breed', which no training image has"):
        Classifier(condition="breed").trained(evidence)
    ones = Listed([record for record in map(evidence.train.__getitem__, range(300)) if record.conditions["label"] == 1])
    with pytest.raises(ValueError, match="needs at least 2 classes, but every training image has label 1"):
        Classifier().trained(replace(evidence, train=ones, cache=tmp_path))
