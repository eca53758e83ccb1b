"""A folder of the user's own sounds."""

import hashlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from anylatent.data import Split, sha256_of
from anylatent_audio.audio_data import AudioData
from anylatent_audio.sound import SUFFIXES, Sound, is_silent, read_sound

if TYPE_CHECKING:
    from anylatent_audio.sounds import Sounds


class Folder(AudioData, kind="audio.folder"):
    """Every sound under a folder, in the order of its path; its subfolder is its label, its file name its caption.

    All are decoded once, when the data set is opened, and held in memory as 16-bit numbers. Longer files are cut to
    their first `longest` seconds; silent ones are left out.
    """

    summary: ClassVar[str] = "your own sounds: WAV, FLAC, Ogg, MP3, AIFF; label = subfolder, caption = file name"

    path: str = Field(description="The folder; ~ is your home. Subfolders are read too, hidden ones are not.")
    longest: float = Field(default=5.0, ge=0.1, le=600, description="Seconds that are read of a file at most.")
    test_share: float = Field(default=0.1, gt=0, lt=1, description="How much is held out, chosen by a hash of the file's content.")
    strict: bool = Field(default=False, description="Stop at the first unreadable file instead of counting and skipping it.")

    @property
    def root(self) -> Path:
        return Path(self.path).expanduser()

    def build(self, split: Split) -> "Sounds":
        """Open a split: conditions `caption`, `duration` (s) and, in subfolders, `label`; ids are relative paths.

        Errors: `FileNotFoundError` if there is no such folder; `ValueError` if it has too few sounds, or with `strict`
        for the first of either split that cannot be read.
        """
        from anylatent_audio.sounds import Sounds

        if self.strict:
            # Before anything is trained: an unreadable file of `test` would otherwise be found at the end.
            for path in self._files("test" if split == "train" else "train"):
                self._read(path)
        sounds, conditions, ids, problems = [], [], [], []
        for path in self._files(split):
            try:
                sound = self._read(path)
            except ValueError as error:
                if self.strict:
                    raise
                problems.append(str(error))
                continue
            inner = path.relative_to(self.root)
            label = {} if inner.parent == Path() else {"label": inner.parent.as_posix()}
            sounds.append(sound)
            conditions.append({"caption": path.stem.replace("_", " "), "duration": round(sound.seconds, 4)} | label)
            ids.append(inner.as_posix())
        if not sounds:
            raise ValueError(
                f"none of the sounds of split '{split}' under {self.root} can be used ({len(problems)} tried); the first: {problems[0]}"
            )
        return Sounds(sounds, conditions, ids, problems)

    def _read(self, path: Path) -> Sound:
        sound = read_sound(path, self.rate, self.longest)
        if is_silent(sound):
            raise ValueError(f"{path} is silent in its first {sound.seconds:g} s: left out")
        return sound

    def _files(self, split: Split) -> list[Path]:
        """The sound files of a split, sorted. Files of equal content are on one side; both sides have one at least."""
        if not self.root.is_dir():
            raise FileNotFoundError(f"there is no folder {self.root}: audio.folder needs `path`, a folder with sounds")
        files = sorted(_sound_files(self.root), key=lambda path: path.relative_to(self.root).as_posix())
        digests = {path: _digest(path) for path in files}
        contents = sorted(set(digests.values()))
        if len(contents) < 2:
            raise ValueError(
                f"{self.root} holds {len(contents)} different sounds, expected 2 or more (one is held out): "
                f"audio.folder reads files that end in {', '.join(SUFFIXES)}"
            )
        count = min(math.ceil(self.test_share * len(contents)), len(contents) - 1)
        held_out = set(contents[:count])
        return [path for path in files if (digests[path] in held_out) == (split == "test")]


def _sound_files(root: Path) -> list[Path]:
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(folder, name) for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return found


def _digest(path: Path) -> str:
    """A hash of the file's content; of its name, where it cannot be opened (`build` will say so)."""
    try:
        return sha256_of(path)
    except OSError:
        return hashlib.sha256(path.name.encode()).hexdigest()
