"""A folder of the user's own clips."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from anylatent.data import Split
from anylatent.folders import FolderData
from anylatent.lazy import torch
from anylatent_video.clip_form import ClipForm, Fit
from anylatent_video.reading import SUFFIXES, Short, read_clip
from anylatent_video.video_data import VideoData

if TYPE_CHECKING:
    from anylatent_video.clips import Clips

Side = Annotated[int, Field(ge=2, le=4096)]


class Folder(FolderData, VideoData, kind="video.folder"):
    """Every video under a folder, in the order of its path, cut into clips; its subfolder is its label, its file name its caption.

    All are decoded once, when the data set is opened, and held in memory as 8-bit pixels.
    """

    summary: ClassVar[str] = "your own videos: MP4, WebM, MOV, MKV, AVI, GIF, WebP, animated PNG; label = subfolder, caption = file name"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    things: ClassVar[str] = "videos"

    frames: int = Field(default=9, ge=1, le=4096, description="Frames of a clip.")
    size: Side | tuple[Side, Side] = Field(default=64, description="Side in pixels, or [height, width].")
    fps: float = Field(default=8.0, gt=0, le=240, description="Frames a second, whatever the files have.")
    clips: int = Field(default=8, ge=1, description="Clips of one file at most, one after the other.")
    short: Short = Field(default="refuse", description="A file shorter than a clip: hold its last frame, loop it, or refuse it.")
    fit: Fit = Field(default="crop", description="For another aspect: crop to the centre, pad with white, or stretch.")

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

        found, problems = self.opened(split, lambda path: read_clip(path, self.form, self.short, self.clips))
        pixels = torch.stack([clip for _, clips in found for clip in clips])
        known = [self.known(path) for path, clips in found for _ in clips]
        return Clips(pixels, known, [f"{self.place(path)}#{number}" for path, clips in found for number in range(len(clips))], problems)
