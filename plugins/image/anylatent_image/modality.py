"""Images: how they are read, shown and told apart."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from anylatent.files import write_bytes
from anylatent.modality import Modality
from anylatent.spec import AxisSpec
from anylatent.types import Float, Tensor
from anylatent_image.image_data import ImageData
from anylatent_image.pixels import SUFFIXES, Frame, to_picture, to_pixels, to_sample
from anylatent_image.sheet import draw_sheet

_SHOWN = 100


class Image(Modality, kind="image"):
    """Images of one size: grey or sRGB."""

    axes: ClassVar[tuple[AxisSpec, ...]] = (AxisSpec(name="y", unit="px"), AxisSpec(name="x", unit="px"))
    sample: ClassVar[str] = "float32 tensor (height, width, channels) in [-1, 1]; 1 channel is grey, 3 are sRGB"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def sheet(self, samples: Sequence[Tensor], captions: Sequence[str] = ()) -> bytes:
        """A PNG grid of the images, small ones enlarged, with their captions."""
        return draw_sheet([to_picture(sample) for sample in samples], captions)

    def write(self, samples: Sequence[Tensor], folder: Path) -> list[Path]:
        """`0000.png` … of the images' own size, and `sheet.png` with the first hundred."""
        digits = max(4, len(str(len(samples) - 1)))
        written = []
        for index, sample in enumerate(samples):
            stream = io.BytesIO()
            to_picture(sample).save(stream, "PNG")
            written.append(write_bytes(folder / f"{index:0{digits}d}.png", stream.getvalue()))
        return [*written, write_bytes(folder / "sheet.png", self.sheet(samples[:_SHOWN]))]

    def read(self, path: Path) -> Float[Tensor, "height width channels"]:
        """A user's image in the form of this run's data set (resized and cropped as that asks)."""
        return to_sample(self._frame().read(path))

    def identity(self, sample: Float[Tensor, "height width channels"]) -> str:
        """A hash of the 8-bit pixels: two images that look and are stored the same are the same."""
        pixels = to_pixels(sample)
        return hashlib.sha256(f"{tuple(pixels.shape)}".encode() + pixels.contiguous().numpy().tobytes()).hexdigest()

    def _frame(self) -> Frame:
        if isinstance(self.data, ImageData):
            return self.data.frame
        # A data set of somebody else's says nothing but its samples.
        return Frame(*self.data.build("train")[0].sample.shape)
