"""What every metric must hold to."""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from anylatent.data import Dataset, Record
from anylatent.metrics.base import Evidence, Measure, Metric, TooFewSamples
from anylatent.testing.comparing import difference


class Listed(Dataset):
    """A data set of given records, or samples."""

    def __init__(self, records: Sequence[Any]) -> None:
        self.records = [record if isinstance(record, Record) else Record(record, id=str(i)) for i, record in enumerate(records)]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]

    def fingerprint(self) -> str:
        return repr(self.records)


@dataclass
class MetricCase:
    """A metric, and evidence that it can judge: its `min_n` samples or more, not more than half as many as there are real ones."""

    metric: Metric
    evidence: Evidence
    tolerance: float = 1e-6
    """How far a value may be from that of the same samples in another order, as a share of it."""


class MetricContract:
    """Subclass it and give one fixture:

    class TestMine(MetricContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            made, real = [...], Listed([...])
            return MetricCase(MyMetric(), Evidence(MyModality(data=MyData()), made, asked=[{}] * len(made), train=real, test=real))
    """

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> MetricCase:
        raise NotImplementedError("give the fixture `case`")

    @pytest.fixture(scope="class")
    @classmethod
    def measures(cls, case: MetricCase) -> list[Measure]:
        return case.metric.compute(case.evidence)

    def test_values_are_inside_their_intervals(self, case: MetricCase, measures: list[Measure]) -> None:
        """Finite numbers of at most as many samples as there are, that say which way is better."""
        assert measures
        assert len({measure.name for measure in measures}) == len(measures), "two measures have one name"
        for measure in measures:
            assert math.isfinite(measure.value)
            assert measure.low <= measure.value <= measure.high, measure
            assert 0 < measure.n <= len(case.evidence.samples)
            assert measure.better in ("higher", "lower", "neither")
            assert measure.floor is None or math.isfinite(measure.floor)
            assert json.loads(json.dumps(vars(measure))) == vars(measure), "a report is made of its numbers and texts"

    def test_it_is_deterministic(self, case: MetricCase, measures: list[Measure]) -> None:
        """The interval too; and the evidence is left as it was."""
        before = copy.deepcopy(list(case.evidence.samples))
        assert case.metric.compute(case.evidence) == measures
        assert not difference(list(case.evidence.samples), before), "compute changed the samples"

    def test_it_says_if_it_asks_the_denoiser(self, case: MetricCase, measures: list[Measure]) -> None:
        """`part` and `conditional` go by it: they have none to hand on."""
        if case.evidence.model is not None and case.metric.judges_samples and not case.metric.asks_denoiser:
            assert case.metric.compute(replace(case.evidence, model=None)) == measures, "say `asks_denoiser = True`"

    def test_the_order_of_samples_does_not_matter(self, case: MetricCase, measures: list[Measure]) -> None:
        other = replace(case.evidence, samples=list(case.evidence.samples)[::-1], asked=list(case.evidence.asked)[::-1])
        for plain, reversed_ in zip(measures, case.metric.compute(other), strict=True):
            assert reversed_.name == plain.name
            assert reversed_.n == plain.n
            assert reversed_.value == pytest.approx(plain.value, rel=case.tolerance, abs=1e-9), plain.name

    def test_too_few_samples_are_refused(self, case: MetricCase) -> None:
        """With how many there are and how many it needs, rather than a number that means nothing."""
        few = case.metric.min_n - 1
        evidence = replace(case.evidence, samples=list(case.evidence.samples)[:few], asked=list(case.evidence.asked)[:few])
        with pytest.raises(TooFewSamples, match=rf"at least {case.metric.min_n} samples, given {few}"):
            case.metric.compute(evidence)
