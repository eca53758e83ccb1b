"""Closed solids that objects are put together from: boxes, bodies of revolution, tapered blocks, tubes."""

import math
from collections.abc import Sequence

import numpy
import trimesh

Vector = Sequence[float]
_ROUND = 20
"""Sides of a circle."""


def box(size: Vector, at: Vector) -> trimesh.Trimesh:
    """A box of `size` with its centre `at`."""
    return moved(tapered(size[:2], size[:2], (-size[2] / 2, size[2] / 2)), at)


def slab(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> trimesh.Trimesh:
    """The box between these bounds."""
    return box([x[1] - x[0], y[1] - y[0], z[1] - z[0]], [sum(x) / 2, sum(y) / 2, sum(z) / 2])


def turned(profile: Sequence[tuple[float, float]], at: Vector = (0, 0, 0)) -> trimesh.Trimesh:
    """A body of revolution about z: `profile` is a line of (radius, height) that begins and ends on the axis, or closes."""
    radius, height = numpy.array(profile).T
    inward = float(radius @ numpy.roll(height, -1) - height @ numpy.roll(radius, -1)) < 0
    return moved(trimesh.creation.revolve(numpy.array(profile[::-1] if inward else profile), sections=_ROUND), at)


def rod(radius: float, z: tuple[float, float], at: tuple[float, float] = (0, 0)) -> trimesh.Trimesh:
    """An upright cylinder."""
    return turned([(0, z[0]), (radius, z[0]), (radius, z[1]), (0, z[1])], (*at, 0))


def shell(outer: Sequence[tuple[float, float]], thick: float) -> trimesh.Trimesh:
    """A body of revolution that is open at both ends, with walls `thick` to the inside of `outer` (radius, height)."""
    inner = [(max(radius - thick, 1e-3), height) for radius, height in outer][::-1]
    return turned([*outer, *inner, outer[0]])


def tapered(bottom: Vector, top: Vector, z: tuple[float, float], shift: Vector = (0, 0)) -> trimesh.Trimesh:
    """A block whose rectangle (x, y) at the lower end becomes another at the upper end, which is moved by `shift`."""
    corners = numpy.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    low = numpy.c_[corners * bottom, numpy.full(4, z[0])]
    high = numpy.c_[corners * top + shift, numpy.full(4, z[1])]
    faces = [[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7]]
    for i in range(4):
        j = (i + 1) % 4
        faces += [[i, j, j + 4], [i, j + 4, i + 4]]
    return trimesh.Trimesh(numpy.vstack((low, high)), faces, process=False)


def ring(major: float, minor: float, share: float = 1.0) -> trimesh.Trimesh:
    """A torus about z; `share` < 1 flattens it along y."""
    solid = trimesh.creation.torus(major, minor, major_sections=_ROUND, minor_sections=8)
    solid.apply_scale([1, share, 1])
    return solid


def lying(solid: trimesh.Trimesh, axis: str) -> trimesh.Trimesh:
    """An upright solid laid down, so that its z becomes `axis`."""
    turn = {"x": ([0, 1, 0], math.pi / 2), "y": ([1, 0, 0], -math.pi / 2)}[axis]
    solid.apply_transform(trimesh.transformations.rotation_matrix(turn[1], turn[0]))
    return solid


def moved(solid: trimesh.Trimesh, by: Vector) -> trimesh.Trimesh:
    """The same solid, elsewhere."""
    solid.apply_translation(by)
    return solid
