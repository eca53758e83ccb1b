"""A sheet of pictures for people: a grid with margins and captions."""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFont import FreeTypeFont

_SMALLEST, _WORDY, _LARGEST = 64, 128, 256
"""The side of a shown tile, in pixels of the sheet: at least, at least where captions have long words, at most."""
_MARGIN = 8
_TEXT, _LINE, _LINES = 11, 13, 3
_PAPER, _INK, _EDGE = (255, 255, 255), (40, 40, 40), (208, 208, 208)


def draw_sheet(pictures: "Sequence[Picture]", captions: Sequence[str] = ()) -> bytes:
    """A PNG of the pictures in rows, nearly square as a whole; small ones are enlarged by a whole factor (nearest).

    Errors: `ValueError` if there is no picture, or another number of captions.
    """
    from PIL import Image, ImageDraw

    if not pictures:
        raise ValueError("a sheet needs at least one image, given none")
    if captions and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} images: give one each, or none")
    font = _font()
    longest = max((font.getlength(word) for caption in captions for word in caption.split()), default=0)
    tiles = [_tile(picture.convert("RGB"), max(_SMALLEST, min(_WORDY, math.ceil(longest)))) for picture in pictures]
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    texts = [_lines(caption, width, font.getlength) for caption in captions]
    below = _LINE * max(map(len, texts)) + 4 if texts else 0
    columns = _columns(len(tiles), width + _MARGIN, height + below + _MARGIN)
    rows = math.ceil(len(tiles) / columns)
    sheet = Image.new("RGB", (columns * (width + _MARGIN) + _MARGIN, rows * (height + below + _MARGIN) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        x, y = _MARGIN + column * (width + _MARGIN), _MARGIN + row * (height + below + _MARGIN)
        sheet.paste(tile, (x, y))
        draw.rectangle((x - 1, y - 1, x + tile.width, y + tile.height), outline=_EDGE)
        if captions:
            for number, line in enumerate(texts[index]):
                draw.text((x + width // 2, y + height + 4 + number * _LINE), line, _INK, font, "ma")
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _tile(picture: "Picture", smallest: int) -> "Picture":
    from PIL import Image

    side = max(picture.size)
    if side > _LARGEST:
        scale = _LARGEST / side
        return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS)
    factor = math.ceil(smallest / side)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _columns(count: int, width: int, height: int) -> int:
    """Columns that make the sheet about square, with as few empty places as can be: 64 equal tiles are 8 x 8, 100 are 10 x 10."""
    square = math.sqrt(count * height / width)
    about = range(max(1, round(square * 0.8)), round(square * 1.25) + 1)
    return min(about, key=lambda columns: (-count % columns, abs(columns - square)))


def _lines(caption: str, width: int, measure: Callable[[str], float]) -> list[str]:
    """The caption in at most `_LINES` lines of `width` pixels, broken between words; what is left out is marked by …"""
    words, lines = caption.split(), []
    while words and len(lines) < _LINES:
        line = words.pop(0)
        while words and measure(f"{line} {words[0]}") <= width:
            line = f"{line} {words.pop(0)}"
        lines.append(line)
    if words:
        lines[-1] += "…"
    return [_shortened(line, width, measure) for line in lines]


def _shortened(line: str, width: int, measure: Callable[[str], float]) -> str:
    if measure(line) <= width:
        return line
    line = line.rstrip("…")
    while line and measure(line + "…") > width:
        line = line[:-1]
    return line + "…"


def _font() -> "FreeTypeFont":
    """DejaVu Sans, which has the letters of most languages; it comes with matplotlib."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), _TEXT)
