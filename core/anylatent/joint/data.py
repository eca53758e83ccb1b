"""Data sets of several parts, record by record."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator

from anylatent.data import Dataset, DatasetConfig, Record, Split
from anylatent.modality import Modality


def require_names(parts: Iterable[str]) -> None:
    """Errors: `ValueError` for a name of a part that could not be a stream's or a file's."""
    for name in parts:
        if not (name.isidentifier() and name.isascii()):
            raise ValueError(f"a part's name is a word of letters, digits and '_', given '{name}'")


class JointDataset(Dataset):
    """Record i holds record i of each part; its conditions are those of the first."""

    def __init__(self, parts: Mapping[str, Dataset]) -> None:
        sizes = {name: len(part) for name, part in parts.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"the parts of a joint data set have as many records each, given {sizes}")
        self.parts = dict(parts)
        self.problems = tuple(f"{name}: {problem}" for name, part in parts.items() for problem in part.problems)

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def __getitem__(self, index: int) -> Record:
        records = {name: part[index] for name, part in self.parts.items()}
        first = next(iter(records.values()))
        return Record({name: record.sample for name, record in records.items()}, first.conditions, first.id)

    def conditions(self, index: int) -> Mapping[str, Any]:
        return next(iter(self.parts.values())).conditions(index)

    def fingerprint(self) -> str:
        told = [f"{name}={part.fingerprint()}" for name, part in self.parts.items()]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()


class JointData(DatasetConfig, kind="joint"):
    """Several modalities' data sets in step: the first leads, the others give what goes with each of its records."""

    summary: ClassVar[str] = "several data sets in step, record by record, for the modality 'joint'"

    parts: dict[str, Modality] = Field(min_length=2, description="The parts by name; the first one's data set leads.")

    @field_validator("parts")
    @classmethod
    def _named(cls, parts: dict[str, Modality]) -> dict[str, Modality]:
        require_names(parts)
        return parts

    def build(self, split: Split) -> JointDataset:
        """Open all parts. Errors: as theirs, and `ValueError` if one cannot follow the first."""
        built: dict[str, Dataset] = {}
        for name, part in self.parts.items():
            built[name] = part.data.beside(next(iter(built.values())), split) if built else part.data.build(split)
        return JointDataset(built)


class ConditionDataset(Dataset):
    """One condition of another data set's records, as samples."""

    def __init__(self, leading: Dataset, name: str) -> None:
        self.leading, self.name = leading, name

    def __len__(self) -> int:
        return len(self.leading)

    def __getitem__(self, index: int) -> Record:
        known = self.leading.conditions(index)
        value: Any = known.get(self.name)
        if value is None:
            raise ValueError(f"record {index} has no condition '{self.name}': it has {sorted(known) or 'none'}")
        return Record(value, known, str(index))

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.name} of {self.leading.fingerprint()}".encode()).hexdigest()


class ConditionData(DatasetConfig, kind="condition"):
    """A condition of the records that it goes beside, as a sample: what is asked elsewhere is made here."""

    summary: ClassVar[str] = "a condition of another data set's records, as samples: a later part of a joint data set"

    name: str = Field(description="Of the condition.")

    def build(self, split: Split) -> Dataset:
        raise ValueError(f"data set 'condition' is '{self.name}' of another data set's records: use it as a later part of a joint one")

    def beside(self, leading: Dataset, split: Split) -> ConditionDataset:
        """Errors: `ValueError` if the leading records have no such condition."""
        dataset = ConditionDataset(leading, self.name)
        if len(dataset):
            dataset[0]
        return dataset
