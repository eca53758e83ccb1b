"""What the data sets of sprites have in common: which sprites, how large a clip, how it is drawn at random."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from anylatent.data import Source, Split
from anylatent.lazy import torch
from anylatent.random import seed_of, uniform
from anylatent_video.clip_form import ClipForm
from anylatent_video.sprites import COLOURS, SHAPES, TWEMOJI, Sprite, drawn, emoji
from anylatent_video.video_data import VideoData

Backdrop = tuple[tuple[float, float, float], tuple[float, float, float]]


class SpriteData(VideoData):
    """A sprite on a plain background. Record i is a function of i and the description, whatever `count` is."""

    source: ClassVar[Source | None] = TWEMOJI

    count: int = Field(default=2000, ge=4, description="Clips, of which about `test_share` are held out.")
    frames: int = Field(default=8, ge=2, le=512, description="Frames of a clip.")
    size: int = Field(default=16, ge=8, le=256, description="Height and width in pixels.")
    fps: float = Field(default=8.0, gt=0, le=240, description="Frames a second.")
    side: Annotated[float, Field(gt=0.1, le=0.45)] = Field(default=0.4, description="Of a sprite, as a share of the clip's side.")
    sprites: Literal["drawn", "emoji"] = Field(
        default="drawn", description="drawn: `shapes` in `colours`; emoji: Twemoji, which are fetched."
    )
    shapes: tuple[str, ...] = Field(default=("ball", "square", "triangle", "heart"), min_length=1, description="Of drawn sprites.")
    colours: tuple[str, ...] = Field(default=("red", "yellow", "green", "blue"), min_length=1, description="Of drawn sprites.")
    emoji: tuple[str, ...] = Field(
        default=("red apple", "soccer ball", "cat face", "frog", "rocket", "sunflower", "octopus", "banana"),
        min_length=1,
        description="English names of the Twemoji.",
    )
    test_share: float = Field(default=0.1, gt=0, lt=1, description="How much is held out, by a hash of the clip's number.")

    @field_validator("shapes")
    @classmethod
    def _known_shapes(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known("shape", names, SHAPES)

    @field_validator("colours")
    @classmethod
    def _known_colours(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known("colour", names, tuple(COLOURS))

    @property
    def form(self) -> ClipForm:
        return ClipForm(self.frames, self.size, self.size, self.fps)

    @property
    def sprite_side(self) -> int:
        """In px."""
        return max(3, round(self.side * self.size))

    def all_sprites(self) -> list[Sprite]:
        """Errors: `FileNotFoundError` if emoji were asked for and not fetched."""
        if self.sprites == "emoji":
            return emoji(self.emoji, self.sprite_side, self.archive())
        return [drawn(shape, colour, self.sprite_side) for shape in self.shapes for colour in self.colours]

    def numbers(self, split: Split) -> list[int]:
        """The clips of a split; each split has one at least."""
        test = {index for index in range(self.count) if seed_of(self.kind, "split", index) % 10_000 < 10_000 * self.test_share}
        test = test or {self.count - 1}
        if len(test) == self.count:
            test.discard(0)
        return [index for index in range(self.count) if (index in test) == (split == "test")]

    def draws(self, index: int, count: int, again: int = 0) -> list[float]:
        """Uniform numbers of clip `index`."""
        return uniform(torch.tensor([seed_of(self.kind, index)]), "clip", 0, again, count)[0].tolist()


def light_backdrop(u: float, v: float) -> Backdrop:
    """A light colour at the top and a little darker below, in 0 to 255, by two uniform numbers."""
    hues = ((225, 235, 250), (250, 240, 220), (228, 245, 228), (240, 232, 245))
    hue = hues[int(u * len(hues))]
    shade = 0.8 + 0.15 * v
    return hue, (hue[0] * shade, hue[1] * shade, hue[2] * shade)


def _known(what: str, names: tuple[str, ...], choices: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in choices:
            raise ValueError(f"there is no {what} '{name}': expected {', '.join(choices)}")
    if len(set(names)) < len(names):
        raise ValueError(f"a {what} is named twice: {', '.join(names)}")
    return names
