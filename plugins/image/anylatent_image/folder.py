"""A folder of the user's own images."""

import hashlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from anylatent.data import Split, sha256_of
from anylatent.lazy import torch
from anylatent_image.image_data import ImageData
from anylatent_image.pixels import SUFFIXES, Fit, Frame, Rgb

if TYPE_CHECKING:
    from anylatent_image.images import Images

Side = Annotated[int, Field(ge=2, le=4096)]


class Folder(ImageData, kind="image.folder"):
    """Every image under a folder, in the order of its path; its subfolder is its label, its file name its caption.

    All are decoded once, when the data set is opened, and held in memory as 8-bit pixels.
    """

    summary: ClassVar[str] = "your own images: PNG, JPEG, WebP, GIF, BMP, TIFF; label = subfolder, caption = file name"

    path: str = Field(description="The folder; ~ is your home. Subfolders are read too, hidden ones are not.")
    size: Side | tuple[Side, Side] = Field(default=64, description="Side in pixels, or [height, width].")
    channels: Literal[1, 3] = Field(default=3, description="1: grey; 3: sRGB.")
    fit: Fit = Field(default="crop", description="For another aspect: crop to the centre, pad with background, or stretch.")
    background: Rgb = Field(default=(255, 255, 255), description="sRGB colour under transparent pixels and around padded ones.")
    test_share: float = Field(default=0.1, gt=0, lt=1, description="How much is held out, chosen by a hash of the file's content.")
    strict: bool = Field(default=False, description="Stop at the first unreadable file instead of counting and skipping it.")

    @property
    def root(self) -> Path:
        return Path(self.path).expanduser()

    @property
    def frame(self) -> Frame:
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return Frame(height, width, self.channels, self.fit, self.background)

    def build(self, split: Split) -> "Images":
        """Open a split: conditions `caption` and, for images in subfolders, `label` (text); ids are relative paths.

        Errors: `FileNotFoundError` if there is no such folder; `ValueError` if it has too few images, or with `strict`
        for the first of either split that cannot be read.
        """
        from anylatent_image.images import Images

        if self.strict:
            # Before anything is trained: an unreadable file of `test` would otherwise be found at the end.
            for path in self._files("test" if split == "train" else "train"):
                self.frame.read(path)
        pixels, conditions, ids, problems = [], [], [], []
        for path in self._files(split):
            try:
                pixels.append(self.frame.read(path))
            except ValueError as error:
                if self.strict:
                    raise
                problems.append(str(error))
                continue
            inner = path.relative_to(self.root)
            label = {} if inner.parent == Path() else {"label": inner.parent.as_posix()}
            conditions.append({"caption": path.stem.replace("_", " ")} | label)
            ids.append(inner.as_posix())
        if not pixels:
            raise ValueError(
                f"none of the images of split '{split}' under {self.root} can be read ({len(problems)} tried); the first: {problems[0]}"
            )
        return Images(torch.stack(pixels), conditions, ids, problems)

    def _files(self, split: Split) -> list[Path]:
        """The image files of a split, sorted. Files of equal content are on one side; both sides have one at least."""
        if not self.root.is_dir():
            raise FileNotFoundError(f"there is no folder {self.root}: image.folder needs `path`, a folder with images")
        files = sorted(_image_files(self.root), key=lambda path: path.relative_to(self.root).as_posix())
        digests = {path: _digest(path) for path in files}
        contents = sorted(set(digests.values()))
        if len(contents) < 2:
            raise ValueError(
                f"{self.root} holds {len(contents)} different images, expected 2 or more (one is held out): "
                f"image.folder reads files that end in {', '.join(SUFFIXES)}"
            )
        count = min(math.ceil(self.test_share * len(contents)), len(contents) - 1)
        held_out = set(contents[:count])
        return [path for path in files if (digests[path] in held_out) == (split == "test")]


def _image_files(root: Path) -> list[Path]:
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
