"""Clips as files that ordinary programs open."""

import io
import math
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

from anylatent.types import Float, Tensor
from anylatent_video.clip_form import to_pictures

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_SHOWN = 128
"""Small clips are enlarged to at least this side where nothing is lost by it."""


def lossless(sample: Float[Tensor, "frames height width 3"], fps: float) -> bytes:
    """An animated PNG of the clip's own size: every 8-bit pixel as it is. Browsers play it, other programs show its first frame."""
    pictures = to_pictures(sample)
    stream = io.BytesIO()
    pictures[0].save(stream, "PNG", save_all=True, append_images=pictures[1:], duration=_durations(len(pictures), fps, 1), loop=0)
    return stream.getvalue()


def gif(sample: Float[Tensor, "frames height width 3"], fps: float) -> bytes:
    """An animated GIF, enlarged; each frame has its own 256 colours."""
    pictures = [_enlarged(picture) for picture in to_pictures(sample)]
    stream = io.BytesIO()
    # Hundredths of a second are all that GIF knows.
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:], duration=_durations(len(pictures), fps, 10), loop=0)
    return stream.getvalue()


def mp4(sample: Float[Tensor, "frames height width 3"], fps: float) -> bytes:
    """H.264 in MP4 (MPEG-4 part 2 where libx264 is missing), enlarged, 4:2:0: what every player and browser takes."""
    import av

    pictures = [_enlarged(picture) for picture in to_pictures(sample)]
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        video = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000), options={"crf": "16"} if codec == "libx264" else {})
        # 4:2:0 halves the colour: sides must be even.
        video.width, video.height = (side + side % 2 for side in pictures[0].size)
        video.pix_fmt = "yuv420p"
        video.thread_count = 1
        for picture in pictures:
            frame = av.VideoFrame.from_image(picture.resize((video.width, video.height)))
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return stream.getvalue()


def _durations(count: int, fps: float, unit: int) -> list[int]:
    """Milliseconds of each frame, whole `unit`s, so that each begins as near to i / fps as can be."""
    edges = [round(1000 * i / fps / unit) * unit for i in range(count + 1)]
    return [max(unit, end - begin) for begin, end in pairwise(edges)]


def _enlarged(picture: "Picture") -> "Picture":
    from PIL import Image

    factor = max(1, math.ceil(_SHOWN / max(picture.size)))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
