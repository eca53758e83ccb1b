from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from anylatent.data import DatasetConfig, Record
from anylatent.metrics.base import Evidence, TooFewSamples
from anylatent.metrics.flat import Flat
from anylatent.modality import Modality
from anylatent.testing import Listed, MetricCase, MetricContract
from anylatent_text.agreement import Agreement
from anylatent_text.probe import Fit, fit, hashed

COLOURS, SHAPES = ("red", "green", "blue", "dark grey"), ("square", "circle", "cross")
CAPTIONS = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]


class ToyData(DatasetConfig, kind="toytext.data"):
    pass


class Toy(Modality, kind="toytext"):
    def identity(self, sample: Any) -> str:
        if not sample.isfinite().all():
            raise ValueError("it is nothing")
        return str(sample)


def _sample(caption: str, noise: float, number: int) -> torch.Tensor:
    """Two numbers for the shape, three for the colour, three that mean nothing, through a fixed rotation."""
    *_, shape = caption.split()
    colour = caption.removeprefix("a ").removesuffix(f" {shape}")
    known = torch.cat((torch.eye(4)[COLOURS.index(colour)], torch.eye(3)[SHAPES.index(shape)], torch.zeros(3)))
    turn = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(1)))[0]
    return (known + noise * torch.randn(10, generator=torch.Generator().manual_seed(number))) @ turn


def _records(count: int, first: int, noise: float = 0.2) -> list[Record]:
    captions = [CAPTIONS[number * 7 % len(CAPTIONS)] for number in range(count)]
    return [Record(_sample(text, noise, first + i), {"caption": text}, id=f"toy {first + i}") for i, text in enumerate(captions)]


def _evidence(records: Sequence[Record]) -> Evidence:
    train, test = Listed(_records(400, 0)), Listed(_records(120, 1000))
    return Evidence(Toy(data=ToyData()), [r.sample for r in records], [r.conditions for r in records], train, test)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return _evidence(_records(96, 5000))


def _values(evidence: Evidence, **fields: Any) -> dict[str, float]:
    return {measure.name: measure.value for measure in Agreement(features=Flat(), **fields).compute(evidence)}


class TestAgreement(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        return MetricCase(Agreement(features=Flat()), evidence)


def test_real_samples_agree_and_reach_the_floor(evidence: Evidence) -> None:
    for measure in Agreement(features=Flat()).compute(evidence)[:3]:
        assert measure.floor is not None
        assert measure.value == pytest.approx(measure.floor, abs=0.1)
    values = _values(evidence)
    assert values["caption agreement"] > 0.95
    assert values["caption retrieval"] > 0.8
    assert values["caption similarity"] > 0.5 > 0.1 > abs(values["caption similarity, shuffled"])


def test_samples_of_other_captions_are_at_chance(evidence: Evidence) -> None:
    order = torch.randperm(96, generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = replace(evidence, asked=[evidence.asked[i] for i in order])
    values = _values(shuffled)
    assert 0.35 < values["caption agreement"] < 0.65
    assert values["caption retrieval"] < 0.3
    assert abs(values["caption similarity"]) < 0.25


def test_half_of_the_caption_is_half_of_the_agreement(evidence: Evidence) -> None:
    """Samples with the right shape but a colour of their own are between chance and the floor."""
    turned = [_sample(CAPTIONS[(CAPTIONS.index(asked["caption"]) + 3) % 12], 0.2, i) for i, asked in enumerate(evidence.asked)]
    half, whole = _values(replace(evidence, samples=turned)), _values(evidence)
    for name, chance in (("caption agreement", 0.5), ("caption retrieval", 0.0), ("caption similarity", 0.0)):
        assert chance < half[name] < whole[name] - 0.15, name


def test_features_without_meaning_say_so(evidence: Evidence) -> None:
    """The floor is then chance too: nobody takes the number for a failure of the generator."""
    noise = [Record(torch.randn(4, generator=torch.Generator().manual_seed(i)), r.conditions) for i, r in enumerate(_records(600, 0))]
    blind = replace(evidence, train=Listed(noise), test=Listed(noise[:120]), samples=[torch.zeros(4)] * 96)
    first = Agreement(features=Flat()).compute(blind)[0]
    assert first.floor == pytest.approx(0.5, abs=0.12)
    assert "0 of 4 correlations hold" in first.note or first.floor < 0.62


def test_a_sample_that_is_nothing_agrees_with_nothing(evidence: Evidence) -> None:
    broken = [torch.full((10,), torch.nan) if i < 24 else sample for i, sample in enumerate(evidence.samples)]
    measures = Agreement(features=Flat()).compute(replace(evidence, samples=broken))
    assert measures[0].n == 96
    assert measures[0].value == pytest.approx(0.75, abs=0.05)
    assert "24 samples are nothing and agree with no caption" in measures[0].note
    none = Agreement(features=Flat()).compute(replace(evidence, samples=[broken[0]] * 96))
    assert [measure.value for measure in none] == [0, 0, 0, 0]


def test_few_captions_are_few_to_choose_from(evidence: Evidence) -> None:
    two = _evidence([r for r in _records(240, 5000) if r.conditions["caption"] in CAPTIONS[:2]])
    measures = Agreement(features=Flat()).compute(two)
    assert measures[1].note.startswith("among 2 captions, chance: 50%")


class TestRefusals:
    def test_nothing_was_asked(self, evidence: Evidence) -> None:
        with pytest.raises(ValueError, match="by the condition 'title', which none of them was asked for"):
            Agreement(features=Flat(), condition="title").compute(evidence)

    def test_one_caption_alone(self, evidence: Evidence) -> None:
        with pytest.raises(ValueError, match="tells captions apart: all 96 samples were asked 'a red cross'"):
            Agreement(features=Flat()).compute(replace(evidence, asked=[{"caption": "a red cross"}] * 96))

    def test_few_training_records(self, evidence: Evidence) -> None:
        with pytest.raises(TooFewSamples, match="needs at least 100, there are 50"):
            Agreement(features=Flat()).compute(replace(evidence, train=Listed(_records(50, 0))))

    def test_captions_that_are_no_texts(self, evidence: Evidence) -> None:
        numbered = Listed([Record(torch.zeros(10), {"caption": 3}, id="the third")])
        with pytest.raises(ValueError, match="needs texts, but the condition 'caption' of record 'the third' is 3"):
            Agreement(features=Flat()).compute(replace(evidence, train=numbered))


def test_the_order_of_words_is_hashed() -> None:
    one, other, same = hashed(["a dog bites a man", "a man bites a dog", "A  dog bites a man"])
    assert torch.equal(one, same)
    assert float(one @ other) < 0.95
    assert hashed([""]).norm() == 0


def test_a_probe_of_noise_trusts_nothing() -> None:
    vectors = torch.randn(400, 30, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    probe = fit(vectors, [CAPTIONS[i % 12] for i in range(400)], 64)
    assert int((probe.weights > 0).sum()) <= 3
    assert float(probe.weights.max()) < 0.4


def test_features_that_never_vary_are_at_chance() -> None:
    probe = fit(torch.zeros(200, 3, dtype=torch.float64), [CAPTIONS[i % 12] for i in range(200)], 64)
    assert probe.note == "probe of 200 training records: 0 of 0 correlations hold, the best 0.00"
    assert torch.equal(probe.similarity(torch.zeros(2, 3, dtype=torch.float64), CAPTIONS[:2]), torch.zeros(2, 2, dtype=torch.float64))


def test_retrieval_is_what_drawing_captions_gives() -> None:
    """Against counting all draws, on scores with a tie."""
    from itertools import combinations

    texts = ["a", "b", "c", "d", "b"]
    scores = torch.tensor([[3.0, 4, 1, 0, 4], [1, 1, 1, 0, 1], [9, 0, 5, 6, 0], [0, 0, 0, 1, 0], [0, 9, 0, 0, 9]], dtype=torch.float64)
    fit = Fit.of(scores, texts, 3)
    of = {text: texts.index(text) for text in "abcd"}
    for row, text in enumerate(texts):
        draws = list(combinations([other for other in "abcd" if other != text], 2))
        best = sum(all(scores[row, row] > scores[row, of[other]] for other in draw) for draw in draws)
        assert float(fit.found[row]) == pytest.approx(best / len(draws)), text
    assert fit.agreed[1] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert fit.own.tolist() == [3, 1, 5, 1, 9]
    assert fit.shuffled[0] == pytest.approx((4 + 1 + 0 + 4) / 4)
