"""Video: how clips are read, shown and told apart."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from anylatent.files import write_bytes
from anylatent.modality import Modality
from anylatent.spec import AxisSpec
from anylatent.types import Float, Tensor
from anylatent_video.clip_form import ClipForm, to_pixels, to_sample
from anylatent_video.motion import bounce_times
from anylatent_video.reading import SUFFIXES, read_clip
from anylatent_video.video_data import VideoData

_FPS = 8.0
"""Of clips from a data set that does not say."""


class Video(Modality, kind="video"):
    """Clips of one size and frame rate, in sRGB."""

    axes: ClassVar[tuple[AxisSpec, ...]] = (
        AxisSpec(name="t", unit="s", step=1 / _FPS), AxisSpec(name="y", unit="px"), AxisSpec(name="x", unit="px"),
    )  # fmt: skip
    sample: ClassVar[str] = "float32 tensor (frames, height, width, 3) in [-1, 1], sRGB, at the data set's frames a second"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    @property
    def fps(self) -> float:
        """Frames a second of its data set."""
        return self.data.form.fps if isinstance(self.data, VideoData) else _FPS

    def sample_axes(self) -> tuple[AxisSpec, ...]:
        """t in s (a step is a frame), y and x in px."""
        return (AxisSpec(name="t", unit="s", step=1 / self.fps), *self.axes[1:])

    def sheet(self, samples: Sequence[Tensor], captions: Sequence[str] = ()) -> bytes:
        """A PNG with a filmstrip a clip: its frames from left to right, at most twelve of them."""
        from anylatent_video.sheet import draw_sheet

        return draw_sheet(samples, captions, self.fps)

    def write(self, samples: Sequence[Tensor], folder: Path) -> list[Path]:
        """Of each clip `0000.png` (animated, without loss), `0000.mp4` and `0000.gif` (enlarged); `sheet.png` with the first 24."""
        from anylatent_video.writing import gif, lossless, mp4

        digits = max(4, len(str(len(samples) - 1)))
        written = []
        for index, sample in enumerate(samples):
            name = f"{index:0{digits}d}"
            written.append(write_bytes(folder / f"{name}.png", lossless(sample, self.fps)))
            written.append(write_bytes(folder / f"{name}.mp4", mp4(sample, self.fps)))
            written.append(write_bytes(folder / f"{name}.gif", gif(sample, self.fps)))
        return [*written, write_bytes(folder / "sheet.png", self.sheet(samples[:24]))]

    def read(self, path: Path) -> Float[Tensor, "frames height width 3"]:
        """A user's clip in the form of this run's data set: its first frames at that rate; a shorter one holds its last frame."""
        return to_sample(read_clip(path, self._form(), short="hold")[0])

    def events(self, sample: Float[Tensor, "frames height width 3"]) -> list[float]:
        """When what moves in a clip bounces off the floor, in seconds, measured from the pixels."""
        return bounce_times(sample, self.fps)

    def identity(self, sample: Float[Tensor, "frames height width 3"]) -> str:
        """A hash of the 8-bit pixels: two clips that look and are stored the same are the same."""
        pixels = to_pixels(sample)
        return hashlib.sha256(f"{tuple(pixels.shape)}".encode() + pixels.contiguous().numpy().tobytes()).hexdigest()

    def _form(self) -> ClipForm:
        if isinstance(self.data, VideoData):
            return self.data.form
        # A data set of somebody else's says nothing but its samples.
        frames, height, width, _ = self.data.build("train")[0].sample.shape
        return ClipForm(frames, height, width, _FPS)
