"""What every data set must hold to."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from anylatent.data import Dataset, DatasetConfig, Record
from anylatent.modality import Modality
from anylatent.testing.comparing import difference


@dataclass
class DatasetCase:
    """A data set's description, and the modality that tells its samples apart (None: they cannot be)."""

    config: DatasetConfig
    modality: Modality | None = None
    looked_at: int = 100
    """How many records of a split are looked at, evenly spread."""

    def some(self, dataset: Dataset) -> Iterable[int]:
        """Indices to look at: the first and the last among them."""
        count = min(self.looked_at, len(dataset))
        return sorted({round(i * (len(dataset) - 1) / max(count - 1, 1)) for i in range(count)})


class DatasetContract:
    """Subclass it and give one fixture:

    class TestMine(DatasetContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            return DatasetCase(MyData(), modality=MyModality(data=MyData()))
    """

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> DatasetCase:
        raise NotImplementedError("give the fixture `case`")

    @pytest.fixture(scope="class")
    @classmethod
    def splits(cls, case: DatasetCase) -> tuple[Dataset, Dataset]:
        return case.config.build("train"), case.config.build("test")

    def test_records_never_change(self, case: DatasetCase, splits: tuple[Dataset, Dataset]) -> None:
        """Asked twice, and opened again: the same samples, conditions and ids in the same order, and the same fingerprint."""
        again = case.config.build("train"), case.config.build("test")
        for dataset, other in zip(splits, again, strict=True):
            assert len(dataset) == len(other) > 0
            assert dataset.fingerprint() == other.fingerprint() == dataset.fingerprint()
            for index in case.some(dataset):
                for record in (dataset[index], other[index]):
                    apart = difference(record, dataset[index])
                    assert not apart, f"record {index} changed: {apart}"
                assert not difference(dataset.conditions(index), dataset[index].conditions), "`conditions` are not the record's"

    def test_splits_differ(self, splits: tuple[Dataset, Dataset]) -> None:
        train, test = splits
        assert train.fingerprint() != test.fingerprint()

    def test_no_sample_is_in_both_splits(self, case: DatasetCase, splits: tuple[Dataset, Dataset]) -> None:
        """All records are looked at: a leak of one is one too many."""
        modality = case.modality
        if modality is None:
            pytest.skip("no modality was given to tell samples apart")
        train, test = ({modality.identity(dataset[i].sample) for i in range(len(dataset))} for dataset in splits)
        assert not train & test, f"{len(train & test)} samples are in both splits"

    def test_past_the_end_is_an_index_error(self, splits: tuple[Dataset, Dataset]) -> None:
        for dataset in splits:
            for index in (len(dataset), len(dataset) + 5):
                with pytest.raises(IndexError):
                    dataset[index]

    def test_conditions_are_data(self, case: DatasetCase, splits: tuple[Dataset, Dataset]) -> None:
        """They are JSON and come back from it equal: they are written beside samples and typed on the command line."""
        for dataset in splits:
            for index in case.some(dataset):
                record = dataset[index]
                assert isinstance(record, Record)
                assert isinstance(record.id, str)
                assert json.loads(json.dumps(dict(record.conditions))) == dict(record.conditions), f"record {index}: {record.conditions}"

    def test_ids_are_names(self, case: DatasetCase, splits: tuple[Dataset, Dataset]) -> None:
        for dataset in splits:
            ids = [dataset[index].id for index in case.some(dataset)]
            assert all(ids), "an id that people recognise is not empty"
            assert len(set(ids)) == len(ids), "two records have one id"

    def test_it_says_what_it_is(self, case: DatasetCase, splits: tuple[Dataset, Dataset]) -> None:
        """A line for the list of data sets; and whatever could not be read is said in lines of text."""
        assert case.config.summary
        assert "\n" not in case.config.summary
        assert all(isinstance(problem, str) and problem for dataset in splits for problem in dataset.problems)
