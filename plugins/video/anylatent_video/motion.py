"""What moves in a clip, measured from its pixels alone."""

import math

from anylatent.lazy import torch
from anylatent.types import Float, Tensor

_H = math.sqrt(0.5)
DIRECTIONS = {
    "left": (0.0, -1.0), "right": (0.0, 1.0), "up": (-1.0, 0.0), "down": (1.0, 0.0),
    "up-left": (-_H, -_H), "up-right": (-_H, _H), "down-left": (_H, -_H), "down-right": (_H, _H),
}  # fmt: skip
"""Unit steps (y, x) by name; y points down."""
STRAIGHT = ("left", "right", "up", "down")
STILL = "still"

_LEAST = 0.15
"""Of the clip's side: a way shorter than this, from the first to the last frame, is no motion."""
_RISE = 0.06
"""Of the clip's height: a bounce comes from and returns to at least so far above."""


def centroids(clip: Float[Tensor, "frames height width 3"]) -> Float[Tensor, "frames 2"]:
    """Where the sprite is in each frame, (y, x) in px: the mean place of what differs from the background.

    The background of a row is its median colour over all frames: a sprite covers less than half of a row at a time.
    """
    background = clip.transpose(0, 1).flatten(1, 2).median(1).values
    apart = (clip - background[None, :, None]).abs().amax(-1)
    # A third of the strongest difference: noise and soft shadows do not pull the centre.
    weight = (apart - apart.amax((1, 2), keepdim=True) / 3).clamp(min=0)
    total = weight.sum((1, 2)).clamp(min=1e-6)
    _, height, width = weight.shape
    y = (weight.sum(2) * torch.arange(height)).sum(1) / total
    x = (weight.sum(1) * torch.arange(width)).sum(1) / total
    return torch.stack((y, x), 1)


def displacement(clip: Float[Tensor, "frames height width 3"]) -> tuple[float, float]:
    """The way (y, x) from the first to the last frame, in px, of the straight line that fits the centroids best."""
    places = centroids(clip)
    time = torch.linspace(-0.5, 0.5, len(places))
    y, x = ((places - places.mean(0)) * time[:, None]).sum(0) / time.square().sum()
    return float(y), float(x)


def direction_of(clip: Float[Tensor, "frames height width 3"], among: tuple[str, ...]) -> str:
    """The nearest of some directions; `still` if it hardly moves."""
    way = displacement(clip)
    if math.hypot(*way) < _LEAST * min(clip.shape[1:3]):
        return STILL
    return max(among, key=lambda name: DIRECTIONS[name][0] * way[0] + DIRECTIONS[name][1] * way[1])


def bounce_times(clip: Float[Tensor, "frames height width 3"], fps: float) -> list[float]:
    """When a falling thing turns upwards, in seconds, between frames.

    In free flight a centroid's height has one acceleration, and its lowest points are bounces. Before and after one, it
    follows two parabolas of that acceleration; they meet at the bounce.
    """
    height = -centroids(clip)[:, 0].double()
    bends = height[2:] - 2 * height[1:-1] + height[:-2]
    falling = bends[bends < 0]
    pull = float(falling.median()) if len(falling) else 0.0
    y, least = height.tolist(), _RISE * clip.shape[1]
    found = []
    for low in range(1, len(y) - 1):
        before, after = max(y[max(0, low - 3) : low]), max(y[low + 1 : low + 4])
        if y[low] <= y[low - 1] and y[low] < y[low + 1] and min(before, after) - y[low] >= least:
            found.append((low + _meeting(y, low, pull)) / fps)
    return found


def _meeting(y: list[float], low: int, pull: float) -> float:
    """Frames from the lowest one to where the parabolas through its neighbours' flights meet; 0 where too little is seen."""
    if low < 2 or low + 2 >= len(y):
        return 0.0

    def line(at: int) -> tuple[float, float]:
        """Slope and offset at `low` of the flight through frames `low + at` and `low + at + 1`, its curvature taken out."""
        first, second = (y[low + s] - pull / 2 * s * s for s in (at, at + 1))
        return second - first, first - at * (second - first)

    (fall, left), (rise, right) = line(-2), line(1)
    if rise - fall < 1e-6:
        return 0.0
    return min(1.0, max(-1.0, (left - right) / (rise - fall)))
