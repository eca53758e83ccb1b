"""A folder of the user's own clips."""

import hashlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from anylatent.data import Split, sha256_of
from anylatent.lazy import torch
from anylatent_video.clip_form import ClipForm, Fit
from anylatent_video.reading import SUFFIXES, Short, read_clip
from anylatent_video.video_data import VideoData

if TYPE_CHECKING:
    from anylatent_video.clips import Clips

Side = Annotated[int, Field(ge=2, le=4096)]


class Folder(VideoData, kind="video.folder"):
    """Every video under a folder, in the order of its path, cut into clips; its subfolder is its label, its file name its caption.

    All are decoded once, when the data set is opened, and held in memory as 8-bit pixels.
    """

    summary: ClassVar[str] = "your own videos: MP4, WebM, MOV, MKV, AVI, GIF, WebP, animated PNG; label = subfolder, caption = file name"

    path: str = Field(description="The folder; ~ is your home. Subfolders are read too, hidden ones are not.")
    frames: int = Field(default=9, ge=1, le=4096, description="Frames of a clip.")
    size: Side | tuple[Side, Side] = Field(default=64, description="Side in pixels, or [height, width].")
    fps: float = Field(default=8.0, gt=0, le=240, description="Frames a second, whatever the files have.")
    clips: int = Field(default=8, ge=1, description="Clips of one file at most, one after the other.")
    short: Short = Field(default="refuse", description="A file shorter than a clip: hold its last frame, loop it, or refuse it.")
    fit: Fit = Field(default="crop", description="For another aspect: crop to the centre, pad with white, or stretch.")
    test_share: float = Field(default=0.1, gt=0, lt=1, description="How many files are held out, chosen by a hash of their content.")
    strict: bool = Field(default=False, description="Stop at the first unreadable file instead of counting and skipping it.")

    @property
    def root(self) -> Path:
        return Path(self.path).expanduser()

    @property
    def form(self) -> ClipForm:
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return ClipForm(self.frames, height, width, self.fps, self.fit)

    def build(self, split: Split) -> "Clips":
        """Open a split: conditions `caption` and, for files in subfolders, `label`; ids are relative paths with the clip's number.

        Errors: `FileNotFoundError` if there is no such folder; `ValueError` if it has too few videos, or with `strict` for the first
        of either split that cannot be read.
        """
        from anylatent_video.clips import Clips

        if self.strict:
            # Before anything is trained: an unreadable file of `test` would otherwise be found at the end.
            for path in self._files("test" if split == "train" else "train"):
                self._read(path)
        pixels, conditions, ids, problems = [], [], [], []
        for path in self._files(split):
            try:
                found = self._read(path)
            except ValueError as error:
                if self.strict:
                    raise
                problems.append(str(error))
                continue
            pixels += found
            conditions += [self._told(path)] * len(found)
            ids += [f"{path.relative_to(self.root).as_posix()}#{number}" for number in range(len(found))]
        if not pixels:
            raise ValueError(
                f"none of the videos of split '{split}' under {self.root} can be read ({len(problems)} tried); the first: {problems[0]}"
            )
        return Clips(torch.stack(pixels), conditions, ids, problems)

    def _read(self, path: Path) -> list[Any]:
        return read_clip(path, self.form, self.short, self.clips)

    def _told(self, path: Path) -> dict[str, str]:
        inner = path.relative_to(self.root)
        label = {} if inner.parent == Path() else {"label": inner.parent.as_posix()}
        return {"caption": path.stem.replace("_", " ")} | label

    def _files(self, split: Split) -> list[Path]:
        """The video files of a split, sorted. Files of equal content are on one side; both sides have one at least."""
        if not self.root.is_dir():
            raise FileNotFoundError(f"there is no folder {self.root}: video.folder needs `path`, a folder with videos")
        files = sorted(_video_files(self.root), key=lambda path: path.relative_to(self.root).as_posix())
        digests = {path: _digest(path) for path in files}
        contents = sorted(set(digests.values()))
        if len(contents) < 2:
            raise ValueError(
                f"{self.root} holds {len(contents)} different videos, expected 2 or more (one is held out): "
                f"video.folder reads files that end in {', '.join(SUFFIXES)}"
            )
        count = min(math.ceil(self.test_share * len(contents)), len(contents) - 1)
        held_out = set(contents[:count])
        return [path for path in files if (digests[path] in held_out) == (split == "test")]


def _video_files(root: Path) -> list[Path]:
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
