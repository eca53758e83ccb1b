"""A folder of the user's own images."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from anylatent.data import Split
from anylatent.folders import FolderData
from anylatent.lazy import torch
from anylatent_image.image_data import ImageData
from anylatent_image.pixels import SUFFIXES, Fit, Frame, Rgb

if TYPE_CHECKING:
    from anylatent_image.images import Images

Side = Annotated[int, Field(ge=2, le=4096)]


class Folder(FolderData, ImageData, kind="image.folder"):
    """Every image under a folder, in the order of its path; its subfolder is its label, its file name its caption.

    All are decoded once, when the data set is opened, and held in memory as 8-bit pixels.
    """

    summary: ClassVar[str] = "your own images: PNG, JPEG, WebP, GIF, BMP, TIFF; label = subfolder, caption = file name"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    things: ClassVar[str] = "images"

    size: Side | tuple[Side, Side] = Field(default=64, description="Side in pixels, or [height, width].")
    channels: Literal[1, 3] = Field(default=3, description="1: grey; 3: sRGB.")
    fit: Fit = Field(default="crop", description="For another aspect: crop to the centre, pad with background, or stretch.")
    background: Rgb = Field(default=(255, 255, 255), description="sRGB colour under transparent pixels and around padded ones.")

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

        found, problems = self.opened(split, self.frame.read)
        paths = [path for path, _ in found]
        pixels = torch.stack([pixels for _, pixels in found])
        return Images(pixels, [self.known(path) for path in paths], [self.place(path) for path in paths], problems)
