"""A sheet of filmstrips for people."""

import io
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from anylatent.types import Tensor
from anylatent_video.clip_form import to_pictures

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_FRAMES = 12
"""Of a strip; of longer clips as many are shown, evenly spread, the first and the last among them."""
_SMALLEST, _LARGEST = 48, 96
"""The side of a shown frame, in pixels of the sheet."""
_WIDEST = 1400
_GAP, _MARGIN, _TEXT = 2, 10, 12
_PAPER, _INK, _FILM = (255, 255, 255), (40, 40, 40), (30, 30, 30)


def draw_sheet(samples: Sequence[Tensor], captions: Sequence[str], fps: float) -> bytes:
    """A PNG of the clips as filmstrips, in columns, each with its caption above.

    Errors: `ValueError` if there is no clip, or another number of captions.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not samples:
        raise ValueError("a sheet needs at least one clip, given none")
    if captions and len(captions) != len(samples):
        raise ValueError(f"{len(captions)} captions for {len(samples)} clips: give one each, or none")
    strips = [_strip(sample) for sample in samples]
    width, height = max(strip.width for strip in strips), max(strip.height for strip in strips)
    font, above = ImageFont.load_default(_TEXT), _TEXT + 6
    columns = max(1, min(len(strips), math.ceil(math.sqrt(len(strips) * (height + above) / width)), _WIDEST // width))
    rows = math.ceil(len(strips) / columns)
    sheet = Image.new("RGB", (columns * (width + _MARGIN) + _MARGIN, rows * (height + above + _MARGIN) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, strip in enumerate(strips):
        row, column = divmod(index, columns)
        x, y = _MARGIN + column * (width + _MARGIN), _MARGIN + row * (height + above + _MARGIN)
        told = captions[index] if captions else f"{len(samples[index])} frames, {len(samples[index]) / fps:.3g} s"
        draw.text((x, y), _fitted(told, width, font.getlength), _INK, font)
        sheet.paste(strip, (x, y + above))
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _strip(sample: Tensor) -> "Picture":
    """The frames from left to right on a dark band."""
    from PIL import Image

    every = range(len(sample)) if len(sample) <= _FRAMES else [round(i * (len(sample) - 1) / (_FRAMES - 1)) for i in range(_FRAMES)]
    pictures = [_tile(picture) for picture in to_pictures(sample[list(every)])]
    wide, high = pictures[0].size
    strip = Image.new("RGB", (len(pictures) * (wide + _GAP) + _GAP, high + 2 * _GAP), _FILM)
    for index, picture in enumerate(pictures):
        strip.paste(picture, (_GAP + index * (wide + _GAP), _GAP))
    return strip


def _tile(picture: "Picture") -> "Picture":
    from PIL import Image

    side = max(picture.size)
    if side > _LARGEST:
        scale = _LARGEST / side
        return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS)
    factor = math.ceil(_SMALLEST / side)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _fitted(text: str, width: int, measure: Callable[[str], float]) -> str:
    """The text, cut where it is wider than its strip."""
    if measure(text) <= width:
        return text
    while text and measure(text + "…") > width:
        text = text[:-1]
    return text + "…"
