"""Clips from files: MP4, WebM and the like through PyAV; GIF, WebP and PNG, moving or not, through Pillow."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anylatent.lazy import torch
from anylatent.types import Shaped, Tensor
from anylatent_video.clip_form import ClipForm

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

PICTURES = (".gif", ".webp", ".png", ".apng")
SUFFIXES = (*PICTURES, ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi")
Short = Literal["hold", "loop", "refuse"]
"""What becomes of a file with fewer frames than a clip: its last frame is held, it begins anew, or it is refused."""

_SECONDS = 0.1
"""A frame without a duration, as browsers show it."""


class UnreadableVideo(ValueError):
    """A file that gives no clip, and why."""


def read_clip(path: Path, form: ClipForm, short: Short = "refuse", limit: int = 1) -> list[Shaped[Tensor, "frames height width 3"]]:
    """The first clips of a file, one after the other, 8-bit: as many as it has, at most `limit`.

    Frames are taken at the form's rate: at time i / fps the one that is shown then. Errors: `UnreadableVideo`, a `ValueError`, naming
    the file, if it is no video, damaged, cut off, empty, or shorter than a clip and `short` is "refuse".
    """
    try:
        frames = list(pictures_at_rate(_shown(path), form, limit * form.frames))
    except UnreadableVideo:
        raise
    # A damaged file ends in whatever its decoder raises: OSError, EOFError, ValueError, struct.error, DecompressionBombError …
    except Exception as error:
        raise UnreadableVideo(f"{path} cannot be read as a video: {error or type(error).__name__}") from error
    if not frames:
        raise UnreadableVideo(f"{path} holds no frame")
    if len(frames) < form.frames:
        if short == "refuse":
            raise UnreadableVideo(
                f"{path} is too short: {len(frames)} frames at {form.fps:g} frames a second, expected {form.frames} (or set `short`)"
            )
        whole = [frames[-1 if short == "hold" else i % len(frames)] for i in range(len(frames), form.frames)]
        frames += whole
    count = len(frames) // form.frames
    return [torch.stack(frames[i * form.frames : (i + 1) * form.frames]) for i in range(count)]


def pictures_at_rate(shown: "Iterator[tuple[float, Picture]]", form: ClipForm, limit: int) -> Iterator[Tensor]:
    """Frames at times 0, 1 / fps, … out of (end, picture) pairs, `limit` at most."""
    made = 0
    for end, picture in shown:
        pixels = None
        # A quarter of a frame later: times are rounded in files. A single picture is a frame, however short it is shown.
        while made < limit and ((made + 0.25) / form.fps < end or not made):
            pixels = form.clip([picture])[0] if pixels is None else pixels
            made += 1
            yield pixels
        if made >= limit:
            return


def _shown(path: Path) -> "Iterator[tuple[float, Picture]]":
    """Each frame with the time at which its showing ends, in seconds."""
    return _pictures(path) if path.suffix.lower() in PICTURES else _movie(path)


def _pictures(path: Path) -> "Iterator[tuple[float, Picture]]":
    from PIL import Image, ImageSequence

    try:
        opened = Image.open(path)
    except Image.UnidentifiedImageError as error:
        raise UnreadableVideo(f"{path} is not a moving picture: expected GIF, WebP or PNG") from error
    with opened as file:
        end = 0.0
        for picture in ImageSequence.Iterator(file):
            picture.load()
            end += float(picture.info.get("duration") or 0) / 1000 or _SECONDS
            yield end, picture.copy()


def _movie(path: Path) -> "Iterator[tuple[float, Picture]]":
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            raise UnreadableVideo(f"{path} has no video in it")
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.guessed_rate or 1 / _SECONDS)
        count, first, waiting, held = 0, None, None, 0.0
        for frame in container.decode(stream):
            count += 1
            at = float(frame.time) if frame.time is not None else (count - 1) / rate
            first = at if first is None else first
            if waiting is not None:
                yield at - first, waiting
            waiting, held = frame.to_image(), at - first
        # What a file says it holds and does not was cut off.
        if stream.frames and count < stream.frames:
            raise UnreadableVideo(f"{path} is cut off: {count} of its {stream.frames} frames can be read")
        if waiting is not None:
            yield held + 1 / rate, waiting
