"""A sheet for people: each cloud from two sides, in a grid, with captions."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anylatent_points.cloud import Cloud

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFont import FreeTypeFont

_SIDE, _MARGIN, _TEXT, _LINE = 128, 8, 11, 16
_PAPER, _INK, _EDGE = (255, 255, 255), (40, 40, 40), (220, 220, 220)


def draw_sheet(clouds: Sequence[Cloud], captions: Sequence[str] = ()) -> bytes:
    """A PNG of the clouds, each from the front right and from the left, twice as wide as high; what is long, in two strips.

    Errors: `ValueError` if there is no cloud, or another number of captions.
    """
    from PIL import Image, ImageDraw

    if not clouds:
        raise ValueError("a sheet needs at least one cloud, given none")
    if captions and len(captions) != len(clouds):
        raise ValueError(f"{len(captions)} captions for {len(clouds)} clouds: give one each, or none")
    wide, high = 2 * _SIDE + _MARGIN, _SIDE + _MARGIN + (_LINE if captions else 0)
    columns = max(1, round(math.sqrt(len(clouds) * high / wide)))
    rows = math.ceil(len(clouds) / columns)
    sheet = Image.new("RGB", (columns * wide + _MARGIN, rows * high + _MARGIN), _PAPER)
    draw, font = ImageDraw.Draw(sheet), _font()
    for index, cloud in enumerate(clouds):
        row, column = divmod(index, columns)
        x, y = _MARGIN + column * wide, _MARGIN + row * high
        sheet.paste(_tile(cloud), (x, y))
        draw.rectangle((x - 1, y - 1, x + 2 * _SIDE, y + _SIDE), outline=_EDGE)
        if captions:
            draw.text((x + _SIDE, y + _SIDE + 3), _shortened(captions[index], font), _INK, font, "ma")
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _tile(cloud: Cloud) -> "Picture":
    from PIL import Image

    from anylatent_points.rendering import render

    tile = Image.new("RGB", (2 * _SIDE, _SIDE), _PAPER)
    for picture, corner in render(cloud, _SIDE):
        tile.paste(picture, corner)
    return tile


def _shortened(line: str, font: "FreeTypeFont") -> str:
    if font.getlength(line) <= 2 * _SIDE:
        return line
    while line and font.getlength(line + "…") > 2 * _SIDE:
        line = line[:-1]
    return line + "…"


def _font() -> "FreeTypeFont":
    """DejaVu Sans, which has the letters of most languages; it comes with matplotlib."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), _TEXT)
