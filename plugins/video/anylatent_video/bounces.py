"""Sprites that fall and bounce, at times between frames."""

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from anylatent.data import Split
from anylatent.lazy import torch
from anylatent_video.sprite_data import SpriteData, light_backdrop
from anylatent_video.sprites import PITCHES

if TYPE_CHECKING:
    from anylatent.types import Tensor
    from anylatent_video.clips import Clips
    from anylatent_video.sprites import Sprite

_TIMES = ("not at all", "once", "twice")
_TRIES = 200
_FLOOR = (120.0, 100.0, 85.0)


class Bounces(SpriteData, kind="video.bounces"):
    """A sprite falls under gravity and bounces off the floor, losing some speed; it drifts to one side.

    Every bounce is at least two frames after the beginning and three before the end, so that it can be seen. Its colour says at
    which pitch it would sound.
    """

    summary: ClassVar[str] = "clips of sprites that bounce, with the times of the bounces, 2,000 as it stands: drawn shapes or Twemoji"

    frames: int = Field(default=16, ge=8, le=512, description="Frames of a clip.")
    fps: float = Field(default=16.0, gt=0, le=240, description="Frames a second.")
    side: float = Field(default=0.3, gt=0.1, le=0.4, description="Of a sprite, as a share of the clip's side.")
    fall: float = Field(default=0.35, gt=0, description="Seconds of a fall from the top to the floor: the larger, the weaker is gravity.")
    restitution: float = Field(default=0.8, gt=0, le=1, description="Speed after a bounce, as a share of that before.")

    @model_validator(mode="after")
    def _slow_enough(self) -> "Bounces":
        if self.fall * self.fps < 4 or self.frames / self.fps < 2 * self.fall:
            raise ValueError(
                f"a fall of {self.fall:g} s is {self.fall * self.fps:.1f} of {self.frames} frames: expected 4 or more, "
                "and a clip of twice its length"
            )
        return self

    def build(self, split: Split) -> "Clips":
        """Open a split. Conditions: `events` (a list of [seconds, MIDI pitch]), `seconds` (of the clip), `bounces` (how many),

        `sprite`, `colour` (of drawn ones), `caption` ("a red ball bouncing twice"). Errors: as `video.moving`.
        """
        from anylatent_video.clips import Clips

        sprites, numbers = self.all_sprites(), self.numbers(split)
        made = [self._clip(index, sprites) for index in numbers]
        return Clips(
            torch.stack([pixels for pixels, _ in made]), [known for _, known in made], [f"bounces-{index:05d}" for index in numbers]
        )

    def _clip(self, index: int, sprites: "list[Sprite]") -> "tuple[Tensor, dict[str, Any]]":
        from anylatent_video.painting import backdrop, painted

        u = self.draws(index, 6)
        which = int(u[0] * len(sprites))
        sprite = sprites[which]
        times, heights = self._flight(index)
        ground = max(2, self.size // 8)
        room = self.size - self.sprite_side - 2.0
        way = (2 * u[1] - 1) * 0.6 * room
        start = 1 + max(0.0, -way) + u[2] * (room - abs(way))
        lowest = float(self.size - ground - self.sprite_side)
        places = [(lowest - height, start + way * frame / (self.frames - 1)) for frame, height in enumerate(heights)]
        background = backdrop(*light_backdrop(u[3], u[4]), self.size, self.size)
        background[self.size - ground :] = torch.tensor(_FLOOR)
        pixels = painted(background, sprite, places)
        pitch = PITCHES.get(sprite.colour, 60 + 2 * (which % 12))
        count = len(times)
        told = _TIMES[count] if count < len(_TIMES) else f"{count} times"
        colour = {"colour": sprite.colour} if sprite.colour else {}
        known = {
            "events": [[time, pitch] for time in times], "seconds": self.form.seconds, "bounces": count,
            "sprite": sprite.shape, **colour, "caption": f"{sprite.phrase} bouncing {told}",
        }  # fmt: skip
        return pixels, known

    def _flight(self, index: int) -> tuple[list[float], list[float]]:
        """When it bounces, in seconds, and its height above the floor at each frame, in px."""
        highest = self.size - max(2, self.size // 8) - self.sprite_side - 1.0
        gravity = 2 * highest / self.fall**2
        first, last = 2 / self.fps, (self.frames - 3) / self.fps
        u = self.draws(index, 2 * _TRIES, again=1)
        for fast, late in zip(u[::2], u[1::2], strict=True):
            speed = gravity * self.fall * (0.75 + 0.25 * fast)
            impacts, speeds = [self.fall * (0.3 + 1.2 * late)], [speed]
            # Flights of under four frames are not followed: they could not be told apart.
            while impacts[-1] <= self.form.seconds and speeds[-1] * self.restitution >= 2 * gravity / self.fps:
                speeds.append(speeds[-1] * self.restitution)
                impacts.append(impacts[-1] + 2 * speeds[-1] / gravity)
            # One that is not wholly seen would sound but not show.
            seen = [round(time, 4) for time in impacts if time < self.form.seconds]
            if impacts[-1] > self.form.seconds and seen and all(first <= time <= last for time in seen):
                return seen, [_height(frame / self.fps, impacts, speeds, gravity) for frame in range(self.frames)]
        raise ValueError(
            f"video.bounces: no bounce fits into {self.frames} frames at {self.fps:g} fps with a fall of {self.fall:g} s: more frames"
        )


def _height(time: float, impacts: list[float], speeds: list[float], gravity: float) -> float:
    """Of the flight that ends at the next impact: v s - g s^2 / 2, with s the time from there and v the speed at it."""
    number = next(i for i, impact in enumerate(impacts) if time < impact)
    left = impacts[number] - time
    # A flight is symmetric; before the first impact it is part of one.
    return max(0.0, speeds[number] * left - gravity * left * left / 2)
