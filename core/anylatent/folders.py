"""Data sets of a folder of the user's own files."""

import hashlib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from anylatent.data import DatasetConfig, Split
from anylatent.files import sha256_of


class FolderData(DatasetConfig):
    """Every file of some kinds under a folder, in the order of its path; its subfolder is its label, its name its caption.

    Which are held out is decided by a hash of their content: copies of a file are on one side, whatever they are called.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    """The file endings that it reads, in small letters."""
    things: ClassVar[str] = "files"
    """What the files are, in a message."""
    label: ClassVar[str] = "label"
    """The condition that a subfolder's name is."""

    path: str = Field(description="The folder; ~ is your home. Subfolders are read too, hidden ones are not.")
    test_share: float = Field(default=0.1, gt=0, lt=1, description="How many files are held out, chosen by a hash of their content.")
    strict: bool = Field(default=False, description="Stop at the first unreadable file instead of counting and skipping it.")

    @property
    def root(self) -> Path:
        return Path(self.path).expanduser()

    def known(self, path: Path) -> dict[str, str]:
        """What a file's place and name say: `caption` and, in a subfolder, the label."""
        inner = path.relative_to(self.root)
        label = {} if inner.parent == Path() else {self.label: inner.parent.as_posix()}
        return {"caption": path.stem.replace("_", " ")} | label

    def place(self, path: Path) -> str:
        """The file's path within the folder."""
        return path.relative_to(self.root).as_posix()

    def opened(self, split: Split, read: Callable[[Path], Any]) -> tuple[list[tuple[Path, Any]], list[str]]:
        """The files of a split, each with what `read` makes of it, and a line for each that it refuses (`ValueError`, `OSError`).

        Errors: `FileNotFoundError` if there is no such folder; `ValueError` if it has too few files that differ, if none can
        be read, or with `strict` for the first of either split that cannot.
        """
        if self.strict:
            # Before anything is trained: an unreadable file of `test` would otherwise be found at the end.
            for path in self.files("test" if split == "train" else "train"):
                read(path)
        found, problems = [], []
        for path in self.files(split):
            try:
                found.append((path, read(path)))
            except (ValueError, OSError) as error:
                if self.strict:
                    raise
                problems.append(str(error).replace("\n", " "))
        if not found:
            tried = f"({len(problems)} tried); the first: {problems[0]}"
            raise ValueError(f"none of the {self.things} of split '{split}' under {self.root} can be read {tried}")
        return found, problems

    def files(self, split: Split) -> list[Path]:
        """The files of a split, sorted; both sides have one at least. Errors: as `opened`."""
        if not self.root.is_dir():
            raise FileNotFoundError(f"there is no folder {self.root}: {self.kind} needs `path`, a folder with {self.things}")
        digests = {path: _digest(path) for path in sorted(self._all(), key=self.place)}
        contents = sorted(set(digests.values()))
        if len(contents) < 2:
            raise ValueError(
                f"{self.root} holds {len(contents)} different {self.things}, expected 2 or more (one is held out): "
                f"{self.kind} reads files that end in {', '.join(self.suffixes)}"
            )
        held_out = set(contents[: min(math.ceil(self.test_share * len(contents)), len(contents) - 1)])
        return [path for path, digest in digests.items() if (digest in held_out) == (split == "test")]

    def _all(self) -> list[Path]:
        found = []
        for folder, inner, names in os.walk(self.root):
            inner[:] = [name for name in inner if not name.startswith(".")]
            found += [Path(folder, name) for name in names if name.lower().endswith(self.suffixes) and not name.startswith(".")]
        return found


def _digest(path: Path) -> str:
    """A hash of the file's content; of its name, where it cannot be opened (reading it will say so)."""
    try:
        return sha256_of(path)
    except OSError:
        return hashlib.sha256(path.name.encode()).hexdigest()
