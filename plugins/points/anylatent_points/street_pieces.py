"""How a piece of a street is put together: things follow each other along x with random sizes and gaps, in metres, z up."""

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
import trimesh

from anylatent import random
from anylatent.data import Collected, Split
from anylatent.types import Float, Int, Tensor
from anylatent_points import solids
from anylatent_points.cloud import Cloud, Mesh
from anylatent_points.objects import Dice
from anylatent_points.street import USUAL
from anylatent_points.surface import draw

if TYPE_CHECKING:
    from anylatent_points.street import Along, Street

DEPTH, HEIGHT = 8.0, 8.0
SCALE = math.hypot(USUAL, DEPTH, HEIGHT) / 2
"""Metres of 1 in a piece's frame."""
_VERSION = 1
"""Raised by whoever changes what pieces look like: it is all that a fingerprint knows of this file."""
_BEFORE = 12.0
"""Metres of street that are built before a piece begins, and behind it: what stands at its ends is then as likely as anywhere."""
_ROAD, _LAMPS, _HEDGE, _HOUSES = -2.8, -1.2, 0.3, 2.3
"""Where the rows are along y."""

Point = Sequence[float]
Ground = Callable[[float], float]


class Pieces(Collected):
    """Pieces that are made when they are asked for."""

    def __init__(self, config: "Street", split: Split) -> None:
        count = config.count if split == "train" else config.test_count
        self.kinds: list[Along] = [config.along[number % len(config.along)] for number in range(count)]
        super().__init__([{"category": kind} for kind in self.kinds], [f"{kind} {split} {n}" for n, kind in enumerate(self.kinds)])
        self.config, self.split = config, split

    def sample(self, index: int) -> Cloud:
        config, kind = self.config, self.kinds[index]
        seed = random.seed_of(config.kind, config.seed, self.split, index % len(self.kinds))
        return piece(kind, config.length, config.each(), seed)

    def digest(self) -> str:
        return hashlib.sha256(f"{_VERSION} {self.config.key()} {self.split}".encode()).hexdigest()


def piece(along: "Along", length: float, points: int, seed: int) -> Cloud:
    """A piece of a street of its own, of so many metres and points."""
    dice = Dice(iter(random.uniform(torch.tensor([seed]), "street", 0, 0, 200 + round(30 * length))[0].tolist()))
    built = _Built(-length / 2 - _BEFORE, length / 2 + _BEFORE, _hills(dice))
    _cars(dice, built)
    _lamps(dice, built)
    (_village if along == "village" else _wood)(dice, built)
    return Cloud(_cut(built.mesh(length / 2), length, points, seed), SCALE, "m")


class _Built:
    """The ground from `low` to `high`, and what has been put on it."""

    def __init__(self, low: float, high: float, ground: Ground) -> None:
        self.low, self.high, self.ground = low, high, ground
        metres = round(high - low)
        xs = [low + (high - low) * i / metres for i in range(metres + 1)]
        strip = [face for i in range(0, 2 * metres, 2) for face in ((i, i + 2, i + 3), (i, i + 3, i + 1))]
        self.vertices = [torch.tensor([(x, y, ground(x)) for x in xs for y in (-DEPTH / 2, DEPTH / 2)])]
        self.faces = [torch.tensor(strip)]
        self.count = len(self.vertices[0])

    def put(self, form: str, size: Point, at: Point) -> None:
        """A solid of `_form`, this wide, deep and high; `at`: the middle of its foot."""
        vertices, faces = _form(form)
        self.vertices.append(vertices * torch.tensor(size) + torch.tensor(at))
        self.faces.append(faces + self.count)
        self.count += len(vertices)

    def mesh(self, reach: float) -> Mesh:
        """All of it, less the faces that are wholly farther than `reach` along x."""
        vertices, faces = torch.cat(self.vertices), torch.cat(self.faces)
        x = vertices[faces][..., 0]
        return Mesh(vertices, faces[(x.amin(1) < reach) & (x.amax(1) > -reach)])


@cache
def _form(name: str) -> tuple[Float[Tensor, "vertices 3"], Int[Tensor, "faces 3"]]:
    """Solids 1 wide, deep and high that stand on 0: scaled and moved, they are all there is."""
    solid: trimesh.Trimesh = {
        "block": lambda: solids.slab((-0.5, 0.5), (-0.5, 0.5), (0, 1)),
        "roof": lambda: solids.tapered([1, 1], [1, 0.02], (0, 1)),
        "cabin": lambda: solids.tapered([1, 1], [0.67, 0.87], (0, 1)),
        "rod": lambda: solids.rod(0.5, (0, 1)),
        "wheel": lambda: solids.moved(solids.lying(solids.rod(0.5, (-0.5, 0.5)), "y"), [0, 0, 0.5]),
        "cone": lambda: solids.turned([(0, 0), (0.5, 0), (0, 1)]),
        "ball": lambda: solids.moved(trimesh.creation.icosphere(subdivisions=1, radius=0.5), [0, 0, 0.5]),
    }[name]()
    return torch.tensor(solid.vertices, dtype=torch.float32), torch.tensor(solid.faces, dtype=torch.int64)


def _hills(dice: Dice) -> Ground:
    """The height of the ground along x: two waves, from 0.35 to 2.05 m."""
    first, second = dice.between(0, math.tau), dice.between(0, math.tau)
    return lambda x: 1.2 + 0.6 * math.sin(math.tau * x / 26 + first) + 0.25 * math.sin(math.tau * x / 11 + second)


def _cars(dice: Dice, built: _Built) -> None:
    """Now and then a car: body, cabin, wheels."""
    x = built.low + dice.between(0, 12)
    while x < built.high:
        long, cabin, z = dice.between(3.4, 4.6), dice.between(2, 3.2), built.ground(x)
        built.put("block", (long, 1.6, 0.65), (x, _ROAD, z + 0.3))
        built.put("cabin", (cabin, 1.5, 0.6), (x + 0.15 * long, _ROAD, z + 0.95))
        for at in (-0.3, 0.3):
            built.put("wheel", (0.7, 1.7, 0.7), (x + at * long, _ROAD, z))
        x += long + dice.between(3, 16)


def _lamps(dice: Dice, built: _Built) -> None:
    """Every 8 m a lamp, 3.8 m high, its head over the road."""
    x = built.low + dice.between(0, 8)
    while x < built.high:
        z = built.ground(x)
        built.put("rod", (0.24, 0.24, 3.6), (x, _LAMPS, z))
        built.put("block", (0.4, 1.1, 0.2), (x, _LAMPS - 0.45, z + 3.6))
        x += 8


def _village(dice: Dice, built: _Built) -> None:
    """Houses with gabled roofs and gaps, some gaps with a tree, some houses with a chimney; before each a hedge with a gate."""
    x = built.low + dice.between(0, 9)
    while x < built.high:
        wide, deep, walls, roof = dice.between(4, 6.5), dice.between(2.4, 3), dice.between(2.2, 3), dice.between(1.2, 2)
        gap, z = dice.between(1, 4), built.ground(x + wide / 2)
        built.put("block", (wide, deep, walls + 0.3), (x + wide / 2, _HOUSES, z - 0.3))
        built.put("roof", (wide + 0.4, deep + 0.4, roof), (x + wide / 2, _HOUSES, z + walls))
        if dice.chance(0.5):
            built.put("block", (0.6, 0.6, roof + 0.4), (x + dice.between(0.15, 0.85) * wide, _HOUSES + 0.4, z + walls))
        gate = x + dice.between(0.25, 0.75) * wide
        for low, high in ((x - 0.5, gate - 0.7), (gate + 0.7, x + wide + 0.5)):
            built.put("block", (high - low, 0.4, 1.2), ((low + high) / 2, _HEDGE, z - 0.3))
        if gap > 2.5:
            _tree(dice, built, x + wide + gap / 2, _HOUSES)
        x += wide + gap


def _wood(dice: Dice, built: _Built) -> None:
    """Trees near each other."""
    x = built.low + dice.between(0, 2)
    while x < built.high:
        _tree(dice, built, x, dice.between(0.8, 2.7))
        x += dice.between(1.2, 3)


def _tree(dice: Dice, built: _Built, x: float, y: float) -> None:
    """A trunk and a crown: a cone, or round."""
    high, wide, z = dice.between(3, 5.4), dice.between(1.4, 2.4), built.ground(x)
    low, form = (0.25, "cone") if dice.chance(0.5) else (0.36, "ball")
    built.put("rod", (0.3, 0.3, 0.4 * high), (x, y, z))
    built.put(form, (wide, wide, (1 - low) * high), (x, y, z + low * high))


def _cut(mesh: Mesh, length: float, count: int, seed: int) -> Float[Tensor, "points 3"]:
    """Points on the surfaces between the ends of the piece, in its frame."""
    centre, found, more = torch.tensor([0.0, 0.0, HEIGHT / 2]), torch.zeros(0, 3), 0
    while len(found) < count:
        drawn = draw(mesh, round(1.2 * count) + 16, random.seed_of(seed, more))
        found, more = torch.cat((found, drawn[drawn[:, 0].abs() <= length / 2] - centre)), more + 1
    return found[:count] / SCALE
