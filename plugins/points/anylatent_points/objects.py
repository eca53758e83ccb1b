"""Parametric objects: each category is a function of numbers in (0, 1) to closed solids in metres, z up, front to -y."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import trimesh

from anylatent_points.solids import box, lying, moved, ring, rod, shell, slab, tapered, turned

Solids = list[trimesh.Trimesh]
NUMBERS = 16
"""Numbers in (0, 1) that an object is made of."""


@dataclass
class Dice:
    """Proportions, drawn one after the other."""

    numbers: Iterator[float]

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * next(self.numbers)

    def chance(self, share: float) -> bool:
        return next(self.numbers) < share


def chair(dice: Dice) -> Solids:
    """A seat on four legs with a back, of slats or whole; some with arms."""
    width, depth = dice.between(0.4, 0.6), dice.between(0.4, 0.55)
    seat, back = dice.between(0.38, 0.5), dice.between(0.35, 0.6)
    thick, leg = dice.between(0.04, 0.08), dice.between(0.035, 0.06)
    x, y = width / 2, depth / 2
    solids = [slab((-x, x), (-y, y), (seat, seat + thick))]
    solids += _legs(x, y, leg, seat)
    top = seat + thick + back
    if dice.chance(0.5):
        solids.append(slab((-x, x), (y - 0.04, y), (seat + thick, top)))
    else:
        solids += [slab((side - leg / 2, side + leg / 2), (y - 0.04, y), (seat + thick, top)) for side in (-x + leg / 2, 0, x - leg / 2)]
        solids.append(slab((-x, x), (y - 0.04, y), (top - 0.12, top)))
    if dice.chance(0.35):
        arm = seat + dice.between(0.2, 0.27)
        for side in (-x, x):
            solids.append(slab((side - 0.025, side + 0.025), (-y, y), (arm, arm + 0.04)))
            solids.append(slab((side - 0.02, side + 0.02), (-y, -y + 0.04), (seat, arm)))
    return solids


def table(dice: Dice) -> Solids:
    """A top on four legs, or a round one on a foot."""
    width, height, thick = dice.between(0.8, 1.8), dice.between(0.45, 0.8), dice.between(0.04, 0.08)
    depth, leg = dice.between(0.6, 0.95), dice.between(0.05, 0.09)
    if dice.chance(0.3):
        radius = width / 2.4
        return [
            rod(radius, (height - thick, height)),
            rod(leg * 0.9, (0.04, height - thick)),
            turned([(0, 0), (radius * 0.6, 0), (radius * 0.55, 0.05), (0, 0.06)]),
        ]
    x, y = width / 2, depth / 2
    return [slab((-x, x), (-y, y), (height - thick, height)), *_legs(x, y, leg, height - thick)]


def lamp(dice: Dice) -> Solids:
    """A floor or table lamp: foot, pole, open shade."""
    height, pole = dice.between(0.5, 1.3), dice.between(0.015, 0.025)
    low, high, tall = dice.between(0.18, 0.28), dice.between(0.08, 0.16), dice.between(0.2, 0.32)
    foot = dice.between(0.12, 0.2)
    return [
        turned([(0, 0), (foot, 0), (foot, 0.03), (0.03, 0.05), (0, 0.05)]),
        rod(pole, (0.05, height)),
        shell([(low, height - tall * 0.7), (high, height + tall * 0.3)], 0.012),
    ]


def mug(dice: Dice) -> Solids:
    """A cup with a handle to the right."""
    radius, height = dice.between(0.035, 0.05), dice.between(0.07, 0.12)
    wall, foot, ear = dice.between(0.004, 0.006), dice.between(0.75, 1.0), dice.between(0.24, 0.34)
    inner = radius - wall
    cup = turned([(0, 0), (radius * foot, 0), (radius, height), (inner, height), (inner * foot, wall), (0, wall)])
    handle = lying(ring(ear * height, 0.09 * height, 0.8), "y")
    middle = radius * (1 + foot) / 2
    return [cup, moved(handle, [middle + 0.12 * height, 0, height / 2])]


def car(dice: Dice) -> Solids:
    """A body, a cabin and four wheels, driving to the left."""
    length, width, body = dice.between(3.6, 4.8), dice.between(1.6, 1.9), dice.between(0.5, 0.7)
    cabin, wheel = dice.between(0.45, 0.65), dice.between(0.32, 0.42)
    roof, shift = dice.between(0.3, 0.5) * length, dice.between(0.0, 0.12) * length
    floor = wheel * 0.8
    solids = [
        slab((-length / 2, length / 2), (-width / 2, width / 2), (floor, floor + body)),
        moved(tapered([roof * 1.5, width * 0.94], [roof, width * 0.8], (floor + body, floor + body + cabin)), [shift, 0, 0]),
    ]
    for x in (-0.31 * length, 0.31 * length):
        solids += [moved(lying(rod(wheel, (-0.1, 0.1)), "y"), [x, y, wheel]) for y in (-width / 2, width / 2)]
    return solids


def plane(dice: Dice) -> Solids:
    """An airliner: fuselage along x, nose to the left, swept wings, tail."""
    length, radius, span = dice.between(9, 13), dice.between(0.55, 0.8), dice.between(8, 13)
    chord, sweep = dice.between(1.3, 2.1), dice.between(0.3, 2.2)
    half, at = length / 2, dice.between(-0.6, 0.6)
    hull = [(0, -half), (radius * 0.6, -half + 0.35), (radius, -half + 1.4), (radius, half - 3), (radius * 0.3, half), (0, half)]
    solids = [lying(turned(hull), "x")]
    for side in (-1, 1):
        solids.append(_fin(chord, chord * 0.45, span / 2, sweep, side, at))
        solids.append(_fin(chord * 0.6, chord * 0.35, span / 6, sweep * 0.5, side, half - 0.9))
    tail = tapered([chord * 0.9, 0.16], [chord * 0.5, 0.12], (radius * 0.3, radius + dice.between(1.3, 2.0)), [0.8, 0])
    return [*solids, moved(tail, [half - 1.0, 0, 0])]


def bottle(dice: Dice) -> Solids:
    """A body, shoulders and a neck."""
    radius, height = dice.between(0.03, 0.045), dice.between(0.2, 0.32)
    neck, body, shoulder = dice.between(0.28, 0.42) * radius, dice.between(0.5, 0.65) * height, dice.between(0.7, 0.8) * height
    return [turned([(0, 0), (radius, 0), (radius, body), (neck, shoulder), (neck, height), (0, height)])]


def house(dice: Dice) -> Solids:
    """Walls, a gabled roof, a chimney."""
    width, depth, walls = dice.between(6, 10), dice.between(5, 8), dice.between(2.4, 5)
    roof, over = dice.between(1.5, 3.5), dice.between(0.3, 0.6)
    solids = [slab((-width / 2, width / 2), (-depth / 2, depth / 2), (0, walls))]
    solids.append(tapered([width + over, depth + 2 * over], [width + over, 0.05], (walls, walls + roof)))
    at, tall = dice.between(-0.3, 0.3) * width, dice.between(0.8, 1.1)
    return [*solids, box([0.7, 0.7, roof], [at, depth / 5, walls + roof * tall * 0.75])]


def block(dice: Dice) -> Solids:
    """A box."""
    return [box([dice.between(0.3, 1) for _ in range(3)], [0, 0, 0])]


def cylinder(dice: Dice) -> Solids:
    """A cylinder, upright."""
    return [rod(dice.between(0.2, 0.6), (0, dice.between(0.4, 1.5)))]


def cone(dice: Dice) -> Solids:
    """A cone, point up."""
    return [turned([(0, 0), (dice.between(0.3, 0.7), 0), (0, dice.between(0.6, 1.5))])]


def torus(dice: Dice) -> Solids:
    """A torus about z."""
    return [ring(1.0, dice.between(0.15, 0.4))]


def capsule(dice: Dice) -> Solids:
    """A cylinder with round ends, upright."""
    return [trimesh.creation.capsule(dice.between(0.5, 2.0), dice.between(0.3, 0.5), count=[12, 12])]


def sphere(dice: Dice) -> Solids:
    """An ellipsoid that is round from above."""
    solid = trimesh.creation.icosphere(subdivisions=2)
    return [solid.apply_scale([1, 1, dice.between(0.6, 1.4)])]


def angle(dice: Dice) -> Solids:
    """Two bars that make an L."""
    long, tall, thick, deep = dice.between(0.6, 1.2), dice.between(0.6, 1.2), dice.between(0.12, 0.3), dice.between(0.15, 0.5)
    return [slab((0, long), (0, deep), (0, thick)), slab((0, thick), (0, deep), (thick, tall))]


CATEGORIES: dict[str, Callable[[Dice], Solids]] = {
    "chair": chair, "table": table, "lamp": lamp, "mug": mug, "car": car, "plane": plane, "bottle": bottle, "house": house,
    "box": block, "cylinder": cylinder, "cone": cone, "torus": torus, "capsule": capsule, "sphere": sphere, "angle": angle,
}  # fmt: skip


def _legs(x: float, y: float, thick: float, height: float) -> Solids:
    """Four square legs inside the corners of a rectangle."""
    return [
        slab((a - thick / 2, a + thick / 2), (b - thick / 2, b + thick / 2), (0, height))
        for a in (-x + thick / 2, x - thick / 2)
        for b in (-y + thick / 2, y - thick / 2)
    ]


def _fin(root: float, tip: float, span: float, sweep: float, side: int, at: float) -> trimesh.Trimesh:
    """A wing to one side: a tapered block that is laid down along y."""
    wing = lying(tapered([root, 0.16], [tip, 0.1], (0, span), [sweep, 0]), "y")
    if side < 0:
        wing.apply_transform(trimesh.transformations.reflection_matrix([0, 0, 0], [0, 1, 0]))
        if wing.volume < 0:
            wing.invert()
    return moved(wing, [at, 0, 0])
