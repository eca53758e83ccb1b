"""A folder of the user's own sounds."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from anylatent.data import Split
from anylatent.folders import FolderData
from anylatent_audio.audio_data import AudioData
from anylatent_audio.sound import SUFFIXES, Sound, is_silent, read_sound

if TYPE_CHECKING:
    from anylatent_audio.sounds import Sounds


class Folder(FolderData, AudioData, kind="audio.folder"):
    """Every sound under a folder, in the order of its path; its subfolder is its label, its file name its caption.

    All are decoded once, when the data set is opened, and held in memory as 16-bit numbers. Longer files are cut to
    their first `longest` seconds; silent ones are left out.
    """

    summary: ClassVar[str] = "your own sounds: WAV, FLAC, Ogg, MP3, AIFF; label = subfolder, caption = file name"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    things: ClassVar[str] = "sounds"

    longest: float = Field(default=5.0, ge=0.1, le=600, description="Seconds that are read of a file at most.")

    def build(self, split: Split) -> "Sounds":
        """Open a split: conditions `caption`, `duration` (s) and, in subfolders, `label`; ids are relative paths.

        Errors: `FileNotFoundError` if there is no such folder; `ValueError` if it has too few sounds, or with `strict`
        for the first of either split that cannot be read.
        """
        from anylatent_audio.sounds import Sounds

        found, problems = self.opened(split, self._read)
        known = [self.known(path) | {"duration": round(sound.seconds, 4)} for path, sound in found]
        return Sounds([sound for _, sound in found], known, [self.place(path) for path, _ in found], problems)

    def _read(self, path: Path) -> Sound:
        sound = read_sound(path, self.rate, self.longest)
        if is_silent(sound):
            raise ValueError(f"{path} is silent in its first {sound.seconds:g} s: left out")
        return sound
