"""Pictures of several parts, drawn with Pillow."""

import io
from collections.abc import Sequence
from typing import Any

_LINE = 16
_MARGIN = 8


def written(lines: Sequence[str]) -> bytes:
    """Lines of text, one under the other, as a PNG."""
    from PIL import Image, ImageDraw

    drawing = ImageDraw.Draw(Image.new("L", (1, 1)))
    width = max(int(drawing.textlength(line)) for line in lines) + 2 * _MARGIN
    sheet = Image.new("RGB", (width, _LINE * len(lines) + 2 * _MARGIN), "white")
    drawing = ImageDraw.Draw(sheet)
    for index, line in enumerate(lines):
        drawing.text((_MARGIN, _MARGIN + _LINE * index), line, fill="black")
    return _png(sheet)


def stacked(sheets: Sequence[bytes]) -> bytes:
    """PNG pictures, one under the other, as one."""
    from PIL import Image

    pictures = [Image.open(io.BytesIO(sheet)).convert("RGB") for sheet in sheets]
    height = sum(picture.height + _MARGIN for picture in pictures) - _MARGIN
    whole = Image.new("RGB", (max(picture.width for picture in pictures), height), "white")
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height + _MARGIN
    return _png(whole)


def _png(picture: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
