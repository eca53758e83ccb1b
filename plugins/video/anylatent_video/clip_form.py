"""Samples, 8-bit pixels and Pillow pictures: the conversions between them, and the one form of a data set's clips.

A sample is a float32 tensor `(frames, height, width, 3)` in [-1, 1], sRGB. Its 8-bit pixels are `round((x + 1) * 127.5)`,
so that a clip that was written without loss reads back as the same pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from anylatent.lazy import torch
from anylatent.types import Float, Shaped, Tensor

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Fit = Literal["crop", "pad", "stretch"]
"""How a clip of another aspect becomes the wanted size: cut to its centre, surrounded by white, or distorted."""


def to_pixels(sample: Float[Tensor, "*shape 3"]) -> Shaped[Tensor, "*shape 3"]:
    """The 8-bit pixels of a sample; values outside [-1, 1] are clipped."""
    return ((sample.detach().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_sample(pixels: Shaped[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """The sample of 8-bit pixels."""
    return pixels.float() / 127.5 - 1


def to_pictures(sample: Tensor) -> "list[Picture]":
    """A Pillow picture a frame. Errors: `ValueError` if it is no clip `(frames, height, width, 3)`."""
    from PIL import Image

    if sample.dim() != 4 or sample.shape[-1] != 3 or not sample.numel():
        raise ValueError(f"a clip is (frames, height, width, 3), given {tuple(sample.shape)}")
    return [Image.fromarray(frame) for frame in to_pixels(sample).numpy()]


@dataclass(frozen=True)
class ClipForm:
    """What all clips of a data set are brought to: frames at `fps` a second, of one size in pixels."""

    frames: int
    height: int
    width: int
    fps: float
    fit: Fit = "crop"

    @property
    def seconds(self) -> float:
        """How long a clip lasts: each frame stands for 1 / fps."""
        return self.frames / self.fps

    def clip(self, pictures: "Sequence[Picture]") -> Shaped[Tensor, "frames height width 3"]:
        """8-bit pixels of pictures, each made opaque on white and resized (Lanczos)."""
        import numpy

        return torch.from_numpy(numpy.stack([numpy.asarray(self.picture(picture)) for picture in pictures]))

    def picture(self, picture: "Picture") -> "Picture":
        """One frame in this form: opaque on white, of the form's size."""
        from PIL import Image, ImageOps

        if picture.has_transparency_data:
            coloured = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", coloured.size, (255, 255, 255, 255)), coloured)
        picture, size = picture.convert("RGB"), (self.width, self.height)
        if picture.size == size:
            return picture
        match self.fit:
            case "crop":
                return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
            case "pad":
                return ImageOps.pad(picture, size, Image.Resampling.LANCZOS, color=(255, 255, 255))
            case "stretch":
                return picture.resize(size, Image.Resampling.LANCZOS)
