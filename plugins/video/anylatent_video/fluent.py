"""Captioned animated emoji (Fluent), read from the fetched archive without installing it."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from anylatent.data import Source, Split
from anylatent.lazy import torch
from anylatent_video.clip_form import ClipForm
from anylatent_video.reading import pictures_at_rate
from anylatent_video.video_data import VideoData

if TYPE_CHECKING:
    from anylatent_video.clips import Clips

_TONES = ("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff")
_EMOJI_STYLE = "fe0f"


class Fluent(VideoData, kind="video.fluent"):
    """Animated emoji with their Unicode names as captions: 256 x 256 and three seconds at the source, on white.

    The first of the four packages that hold the collection. Skin-toned variants are left out.
    """

    source: ClassVar[Source | None] = Source(
        registry="npm",
        package="@lobehub/fluent-emoji-anim-1",
        version="1.0.0",
        sha256="4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea",
        licence="MIT",
        attribution="Fluent Emoji: copyright Microsoft Corporation, MIT, https://github.com/microsoft/fluentui-emoji",
        megabytes=165,
    )
    summary: ClassVar[str] = "captioned animated emoji, 3 s at 256 x 256, resized to clips; fetched (165 MB), MIT"

    frames: int = Field(default=17, ge=2, le=72, description="Frames of a clip.")
    size: int = Field(default=32, ge=8, le=256, description="Height and width in pixels.")
    fps: float = Field(default=8.0, gt=0, le=24, description="Frames a second; the source has 24.")
    limit: int | None = Field(default=None, ge=2, description="Emoji of a split at most, in the order of their code points.")
    test_share: float = Field(default=0.1, gt=0, lt=1, description="How much is held out, by a hash of the name.")

    @property
    def form(self) -> ClipForm:
        return ClipForm(self.frames, self.size, self.size, self.fps, "pad")

    def build(self, split: Split) -> "Clips":
        """Open a split: condition `caption` (text), ids are the code points.

        Errors: `FileNotFoundError` if the archive was not fetched; `ValueError` if the clip asked for is longer than the emoji.
        """
        from PIL import Image, ImageSequence

        from anylatent_video.clips import Clips

        pixels, captions, ids, problems = [], [], [], []
        with tarfile.open(self.archive()) as archive:
            for member, points, caption in self._chosen(archive, split):
                if len(ids) == self.limit:
                    break
                content = archive.extractfile(member)
                assert content is not None, "only files are chosen"
                with Image.open(io.BytesIO(content.read())) as file:
                    if getattr(file, "n_frames", 1) == 1:
                        problems.append(f"{member.name} ({caption}) does not move: it has one frame")
                        continue
                    shown = ((index / 24, picture) for index, picture in enumerate(ImageSequence.Iterator(file), 1))
                    frames = list(pictures_at_rate(shown, self.form, self.frames))
                if len(frames) < self.frames:
                    problems.append(
                        f"{member.name} ({caption}) is too short: {len(frames)} frames at {self.fps:g} a second, expected {self.frames}"
                    )
                    continue
                pixels.append(torch.stack(frames))
                captions.append({"caption": caption})
                ids.append(points)
        if not pixels:
            raise ValueError(
                f"none of the animated emoji of split '{split}' has {self.frames} frames at {self.fps:g} a second; the first: {problems[0]}"
            )
        return Clips(torch.stack(pixels), captions, ids, problems)

    def _chosen(self, archive: tarfile.TarFile, split: Split) -> list[tuple[tarfile.TarInfo, str, str]]:
        """The files of a split, with code points and caption, in the order of their code points."""
        names, found = _names(), []
        for member in archive.getmembers():
            points = Path(member.name).stem
            parts = [part.lstrip("0") for part in points.split("-")]
            caption = names.get("-".join(part for part in parts if part != _EMOJI_STYLE))
            if member.isfile() and member.name.endswith(".webp") and caption and not set(parts) & set(_TONES):
                found.append((member, points, caption))
        found.sort(key=lambda each: each[1])
        return [each for each in found if _is_held_out(each[2], self.test_share) == (split == "test")]


def _names() -> dict[str, str]:
    """English names by code points, `1f600` to `grinning face`."""
    from emoji import EMOJI_DATA

    def points(text: str) -> str:
        return "-".join(f"{ord(character):x}" for character in text if f"{ord(character):x}" != _EMOJI_STYLE)

    return {points(text): facts["en"].strip(":").replace("_", " ") for text, facts in EMOJI_DATA.items()}


def _is_held_out(name: str, share: float) -> bool:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") < share * 2**64
