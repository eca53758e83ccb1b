"""Sprites painted on backgrounds at places between pixels."""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from anylatent.types import Float, Shaped, Tensor
from anylatent_video.sprites import Sprite

Rgb = tuple[float, float, float]


def backdrop(top: Rgb, bottom: Rgb, height: int, width: int) -> Float[Tensor, "height width 3"]:
    """A vertical gradient, in 0 to 255: each row is of one colour."""
    share = torch.linspace(0, 1, height)[:, None, None]
    rows = (1 - share) * torch.tensor(top) + share * torch.tensor(bottom)
    return rows.expand(height, width, 3).clone()


def painted(
    background: Float[Tensor, "height width 3"], sprite: Sprite, places: Sequence[tuple[float, float]]
) -> Shaped[Tensor, "frames height width 3"]:
    """8-bit frames: the sprite with its upper left corner at each place (y, x), in px, with bilinear edges."""
    height, width, _ = background.shape
    side = sprite.pixels.shape[0]
    pixels = sprite.pixels.float()
    alpha = pixels[..., 3:] / 255
    premultiplied = torch.cat((pixels[..., :3] * alpha, alpha), -1).permute(2, 0, 1)
    corner = torch.tensor(places)
    y = torch.arange(height) - corner[:, 0:1]
    x = torch.arange(width) - corner[:, 1:2]
    # grid_sample's coordinates: -1 and 1 are the outer edges of the sprite.
    grid = torch.stack(
        ((2 * x + 1)[:, None, :].expand(-1, height, -1) / side - 1, (2 * y + 1)[:, :, None].expand(-1, -1, width) / side - 1), -1
    )
    layer = F.grid_sample(premultiplied.expand(len(places), -1, -1, -1), grid, "bilinear", "zeros", align_corners=False).permute(0, 2, 3, 1)
    return (layer[..., :3] + (1 - layer[..., 3:]) * background).round().clamp(0, 255).to(torch.uint8)
