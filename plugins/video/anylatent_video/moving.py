"""Sprites that move in a straight line."""

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent.data import Split
from anylatent.lazy import torch
from anylatent_video.motion import DIRECTIONS, STRAIGHT
from anylatent_video.sprite_data import SpriteData, light_backdrop

if TYPE_CHECKING:
    from anylatent.types import Tensor
    from anylatent_video.clips import Clips
    from anylatent_video.sprites import Sprite


class Moving(SpriteData, kind="video.moving"):
    """A sprite moves over a background in one direction, at its own speed, and stays inside of the picture."""

    summary: ClassVar[str] = (
        "clips of sprites that move in a direction, 2,000 as it stands: drawn shapes (always there) or Twemoji (fetched, CC BY 4.0)"
    )

    diagonals: bool = Field(default=False, description="Eight directions instead of four.")
    speeds: tuple[float, float] = Field(default=(0.7, 1.0), description="Share of the way across that is travelled in the clip: from, to.")

    @property
    def directions(self) -> tuple[str, ...]:
        return tuple(DIRECTIONS) if self.diagonals else STRAIGHT

    def build(self, split: Split) -> "Clips":
        """Open a split. Conditions: `direction`, `sprite`, `colour` (of drawn ones) and `caption` ("a red ball moving left").

        Errors: `FileNotFoundError` if emoji were asked for and not fetched.
        """
        from anylatent_video.clips import Clips

        sprites, numbers = self.all_sprites(), self.numbers(split)
        made = [self._clip(index, sprites) for index in numbers]
        return Clips(
            torch.stack([pixels for pixels, _ in made]), [known for _, known in made], [f"moving-{index:05d}" for index in numbers]
        )

    def _clip(self, index: int, sprites: "list[Sprite]") -> "tuple[Tensor, dict[str, Any]]":
        from anylatent_video.painting import backdrop, painted

        u = self.draws(index, 7)
        sprite = sprites[int(u[0] * len(sprites))]
        direction = self.directions[int(u[1] * len(self.directions))]
        room = self.size - self.sprite_side - 2.0
        travel = room * (self.speeds[0] + (self.speeds[1] - self.speeds[0]) * u[2])
        ways = [unit * travel for unit in DIRECTIONS[direction]]
        starts = [1 + max(0.0, -way) + place * (room - abs(way)) for way, place in zip(ways, u[3:5], strict=True)]
        shares = [frame / (self.frames - 1) for frame in range(self.frames)]
        places = [(starts[0] + ways[0] * share, starts[1] + ways[1] * share) for share in shares]
        pixels = painted(backdrop(*light_backdrop(u[5], u[6]), self.size, self.size), sprite, places)
        colour = {"colour": sprite.colour} if sprite.colour else {}
        return pixels, {"direction": direction, "sprite": sprite.shape, **colour, "caption": f"{sprite.phrase} moving {direction}"}
