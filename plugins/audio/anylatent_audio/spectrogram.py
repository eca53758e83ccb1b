"""Spectrograms for people: time to the right, pitch upwards, loudness as colour."""

import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from anylatent.types import Float, Shaped, Tensor
from anylatent_audio.pitch_names import frequency, pitch_name
from anylatent_audio.sound import Sound

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

_LOWEST, _HIGHEST = 36, 120
"""MIDI numbers of a picture's lower and upper edge: C2 to C9, 65 Hz to 8.4 kHz."""
_WIDTH, _HEIGHT = 168, 126
_LEFT, _BELOW, _MARGIN, _TEXT, _LINE = 22, 14, 8, 10, 12
_QUIET = -75.0
"""Decibels below a full-scale sine that are black."""
_PAPER, _INK, _FAINT = (255, 255, 255), (40, 40, 40), (130, 130, 130)


def draw_sheet(sounds: Sequence[Sound], captions: Sequence[str] = ()) -> bytes:
    """A PNG of the sounds' spectrograms in rows, all on one scale of time, pitch (C2 to C9) and loudness (75 dB).

    Errors: `ValueError` if there is no sound, or another number of captions.
    """
    from PIL import Image, ImageDraw

    if not sounds:
        raise ValueError("a sheet needs at least one sound, given none")
    if captions and len(captions) != len(sounds):
        raise ValueError(f"{len(captions)} captions for {len(sounds)} sounds: give one each, or none")
    longest, font = max(sound.seconds for sound in sounds), _font()
    texts = [_lines(caption, font) for caption in captions]
    width, height = _LEFT + _WIDTH + _MARGIN, _HEIGHT + _BELOW + _LINE * max(map(len, texts), default=0) + _MARGIN
    columns = max(1, min(len(sounds), round(math.sqrt(len(sounds) * 1.5 * height / width))))
    rows = math.ceil(len(sounds) / columns)
    sheet = Image.new("RGB", (columns * width + _MARGIN, rows * height + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, sound in enumerate(sounds):
        row, column = divmod(index, columns)
        x, y = _MARGIN + column * width + _LEFT, _MARGIN + row * height
        tile = spectrogram(sound, max(2, round(_WIDTH * sound.seconds / longest)), _HEIGHT)
        sheet.paste(tile, (x, y))
        _axes(draw, font, x, y, longest)
        for number, line in enumerate(texts[index] if texts else ()):
            draw.text((x + _WIDTH // 2, y + _HEIGHT + _BELOW + number * _LINE), line, _INK, font, "ma")
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def spectrogram(sound: Sound, width: int, height: int) -> "Picture":
    """A picture of `width` moments by `height` pitches."""
    from PIL import Image

    levels = pitch_levels(sound, width, height)
    return Image.fromarray(_colours()[(levels / -_QUIET * 255 + 255).clamp(0, 255).long()].numpy())


def pitch_levels(sound: Sound, moments: int, pitches: int) -> Float[Tensor, "pitches moments"]:
    """Decibels below a full-scale sine, from C9 down to C2 at evenly spaced moments; what the rate cannot hold is silent."""
    window = 2 ** round(math.log2(0.09 * sound.rate))
    samples = sound.samples.detach().cpu()
    centres = (torch.arange(moments) + 0.5) * len(samples) / moments
    places = centres.long()[:, None] + torch.arange(window)
    shape = torch.hann_window(window)
    frames = torch.nn.functional.pad(samples, (window // 2, window))[places] * shape
    power = (torch.fft.rfft(frames).abs() * 2 / shape.sum()).square()
    edges = torch.tensor([frequency(_HIGHEST + (_LOWEST - _HIGHEST) * i / pitches) for i in range(pitches + 1)]) * window / sound.rate
    found = torch.stack([_loudest(power, float(low), float(high)) for high, low in itertools.pairwise(edges)])
    return 10 * found.clamp(min=1e-12).log10()


def _loudest(power: Float[Tensor, "moments bins"], low: float, high: float) -> Float[Tensor, " moments"]:
    """The largest power between two places in the spectrum; between two bins, what a line through them says."""
    if high > power.shape[1] - 1:
        return power.new_zeros(len(power))
    first, last = math.ceil(low), math.floor(high)
    if first <= last:
        return power[:, first : last + 1].amax(1)
    middle = (low + high) / 2
    share = middle - int(middle)
    return power[:, int(middle)] * (1 - share) + power[:, int(middle) + 1] * share


def _axes(draw: "ImageDraw", font: "FreeTypeFont", x: int, y: int, longest: float) -> None:
    """Octaves at the left, seconds below."""
    for pitch in range(_LOWEST, _HIGHEST, 24):
        at = y + _HEIGHT * (_HIGHEST - pitch) / (_HIGHEST - _LOWEST)
        draw.text((x - 3, at), pitch_name(pitch), _FAINT, font, "rb")
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 600) if longest / s <= 5 or s == 600)
    for number in range(int(longest / step + 1e-6) + 1):
        at = x + _WIDTH * number * step / longest
        draw.line((at, y + _HEIGHT, at, y + _HEIGHT + 2), _FAINT)
        draw.text((at, y + _HEIGHT + 2), f"{number * step:g}" + ("s" if number == 0 else ""), _FAINT, font, "la" if number == 0 else "ma")


def _lines(caption: str, font: "FreeTypeFont") -> list[str]:
    """The caption in at most two lines, broken between words; what is left out is marked by …"""
    words, lines = caption.split(), [""]
    while words:
        longer = f"{lines[-1]} {words[0]}".strip()
        if font.getlength(longer) > _WIDTH + _MARGIN and lines[-1]:
            if len(lines) == 2:
                lines[-1] += " …"
                break
            lines.append("")
            continue
        lines[-1] = longer
        words.pop(0)
    return [_shortened(line, font) for line in lines]


def _shortened(text: str, font: "FreeTypeFont") -> str:
    if font.getlength(text) <= _WIDTH + _MARGIN:
        return text
    text = text.rstrip(" …")
    while text and font.getlength(text + "…") > _WIDTH + _MARGIN:
        text = text[:-1]
    return text + "…"


def _colours() -> Shaped[Tensor, "levels rgb"]:
    import matplotlib

    return torch.from_numpy((matplotlib.colormaps["magma"](range(256))[:, :3] * 255).round().astype("uint8"))


def _font() -> "FreeTypeFont":
    """DejaVu Sans, which has the letters of most languages; it comes with matplotlib."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), _TEXT)
