"""Samples, 8-bit pixels and Pillow pictures: the conversions between them.

A sample is a float32 tensor `(height, width, channels)` in [-1, 1]; 1 channel is grey, 3 are sRGB. Its 8-bit pixels are
`round((x + 1) * 127.5)`, so that a written PNG reads back as the same pixels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from anylatent.lazy import torch
from anylatent.types import Float, Shaped, Tensor

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Fit = Literal["crop", "pad", "stretch"]
"""How a picture of another aspect becomes the wanted size: cut to its centre, surrounded by background, or distorted."""
Byte = Annotated[int, Field(ge=0, le=255)]
Rgb = tuple[Byte, Byte, Byte]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")


def to_pixels(sample: Float[Tensor, "height width channels"]) -> Shaped[Tensor, "height width channels"]:
    """The 8-bit pixels of a sample; values outside [-1, 1] are clipped."""
    return ((sample.detach().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_sample(pixels: Shaped[Tensor, "height width channels"]) -> Float[Tensor, "height width channels"]:
    """The sample of 8-bit pixels."""
    return pixels.float() / 127.5 - 1


def to_picture(sample: Float[Tensor, "height width channels"]) -> "Picture":
    """A Pillow picture of a sample. Errors: `ValueError` if it has neither 1 nor 3 channels."""
    from PIL import Image

    pixels = to_pixels(sample).numpy()
    if pixels.shape[-1] not in (1, 3):
        raise ValueError(f"an image is (height, width, channels) with 1 channel (grey) or 3 (sRGB), given {tuple(pixels.shape)}")
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


@dataclass(frozen=True)
class Frame:
    """The one form that all pictures of a data set are brought to: size in pixels, channels, and how others are made to fit."""

    height: int
    width: int
    channels: int
    fit: Fit = "crop"
    background: Rgb = (255, 255, 255)
    """Laid under transparent pixels, and around a picture that is padded."""

    def of(self, picture: "Picture") -> Shaped[Tensor, "height width channels"]:
        """8-bit pixels of a Pillow picture: turned upright, made opaque, resized (Lanczos)."""
        import numpy
        from PIL import ImageOps

        fitted = self._fitted(_opaque(ImageOps.exif_transpose(picture), self.background))
        pixels = numpy.array(fitted.convert("L" if self.channels == 1 else "RGB"))
        return torch.from_numpy(pixels.reshape(self.height, self.width, self.channels))

    def read(self, path: Path) -> Shaped[Tensor, "height width channels"]:
        """8-bit pixels of an image file (its first frame).

        Errors: `ValueError` naming the file, if it is not an image that can be read.
        """
        from PIL import Image

        try:
            with Image.open(path) as picture:
                return self.of(picture)
        except Image.UnidentifiedImageError as error:
            raise ValueError(f"{path} is not an image: expected PNG, JPEG, WebP, GIF, BMP, TIFF or another format of Pillow") from error
        # A damaged file ends in whatever its decoder raises: OSError, SyntaxError, EOFError, struct.error, DecompressionBombError …
        except Exception as error:
            raise ValueError(f"{path} cannot be read as an image: {error or type(error).__name__}") from error

    def _fitted(self, picture: "Picture") -> "Picture":
        from PIL import Image, ImageOps

        size = (self.width, self.height)
        if picture.size == size:
            return picture
        match self.fit:
            case "crop":
                return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
            case "pad":
                return ImageOps.pad(picture, size, Image.Resampling.LANCZOS, color=self.background)
            case "stretch":
                return picture.resize(size, Image.Resampling.LANCZOS)


def _opaque(picture: "Picture", background: Rgb) -> "Picture":
    """The picture in sRGB without transparency; 16-bit grey is brought to 8 bits first (Pillow would clip it)."""
    import numpy
    from PIL import Image

    if picture.mode.startswith("I"):
        grey = numpy.asarray(picture).astype("float64")
        picture = Image.fromarray((grey.clip(0, 65535) / 257).round().astype("uint8"))
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    coloured = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", coloured.size, (*background, 255)), coloured).convert("RGB")
