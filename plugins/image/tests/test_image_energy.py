"""What is wanted of images: the contract, the classifier's own word, what it cannot judge."""

from pathlib import Path

import pytest
import torch

from anylatent.files import cache_folder
from anylatent.metrics.base import Evidence
from anylatent.testing import SampleEnergyCase, SampleEnergyContract
from anylatent_image.class_energy import ClassEnergy
from anylatent_image.classifier import Classifier
from anylatent_image.digits import Digits
from anylatent_image.modality import Image

CLASSIFIER = Classifier(steps=60)
TEST = Digits().build("test")


@pytest.fixture(scope="module")
def energy(tmp_path_factory: pytest.TempPathFactory) -> ClassEnergy:
    """Of threes, by a classifier that is trained here."""
    patch = pytest.MonkeyPatch()
    with patch.context() as here:
        here.setenv("ANYLATENT_CACHE", str(tmp_path_factory.mktemp("cache")))
        made = ClassEnergy(label=3, data=Digits(), classifier=CLASSIFIER)
        kept = cache_folder() / "metrics"
        assert made.trained.accuracy is not None
        assert len(list(kept.iterdir())) == 1
        return made


class TestClassEnergy(SampleEnergyContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, energy: ClassEnergy) -> SampleEnergyCase:
        return SampleEnergyCase(energy, [TEST[i].sample for i in range(12)], foreign="an image")


def test_it_is_minus_the_log_probability_of_the_class(energy: ClassEnergy) -> None:
    samples = [TEST[i].sample for i in range(len(TEST))]
    found = energy.of_samples(samples)
    logs = energy.trained.log_probabilities(samples)
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(len(samples)))
    torch.testing.assert_close(found, -logs[:, 3])
    threes = torch.tensor([TEST[i].conditions["label"] == 3 for i in range(len(TEST))])
    assert found[threes].median() < 1 < found[~threes].median()
    best = [energy.trained.labels[i] for i in logs.argmax(1).tolist()]
    assert best == energy.trained.classes(samples)


def test_it_is_the_metrics_classifier_of_the_same_data(energy: ClassEnergy, tmp_path: Path) -> None:
    evidence = Evidence(Image(data=Digits()), [], [], Digits().build("train"), TEST, cache=tmp_path)
    same = CLASSIFIER.trained(evidence)
    torch.testing.assert_close(energy.trained.features([TEST[0].sample]), same.features([TEST[0].sample]))


def test_what_it_cannot_judge_is_refused(energy: ClassEnergy) -> None:
    sample = TEST[0].sample
    assert energy.unjudged(sample) is None
    assert energy.unjudged(torch.zeros(16, 16, 3)) == (
        "energy 'image.class' judges images of the shape (8, 8, 1), as those of its `data` are: these samples are of the shape (16, 16, 3)"
    )
    assert "these samples are of the type str" in (energy.unjudged("a picture") or "")
    unknown = ClassEnergy(label="three", data=Digits())
    assert unknown.unjudged(sample) == (
        "energy 'image.class' has no class 'three': the labels of its `data` are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    )
    caption = ClassEnergy(label="a handwritten three", data=Digits(), classifier=Classifier(condition="caption"))
    assert caption.unjudged(sample) is None
    breed = ClassEnergy(label=3, data=Digits(), classifier=Classifier(condition="breed"))
    assert (breed.unjudged(sample) or "").endswith("the breeds of its `data` are none")
