"""Points and surfaces as shaded pictures: spheres and surface samples, drawn from far to near, in numpy alone.

A point is drawn as a small sphere, a mesh as many surface points with their faces' normals. The nearest that falls on a
pixel is seen; light comes from the viewer's upper left, and far parts are paler.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

from anylatent_points.cloud import Cloud, Mesh

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_OVER = 2
"""Pixels along a side that make one of the picture: edges come out smooth."""
_NEAR, _FAR = numpy.array([40.0, 98.0, 175.0]), numpy.array([206.0, 222.0, 240.0])
_PAPER = 255.0
_LIGHT = numpy.array([-0.45, 0.55, 0.7])
_SURFACE = 12_000
"""Surface points of a drawn mesh, `_BLOCK` pixels wide and high each."""
_BLOCK = 4

Array = Any
"""A numpy array."""


@dataclass(frozen=True)
class View:
    """From where it is seen: turned about z, then looked at from above, in degrees. 0: from the front (-y)."""

    turn: float
    above: float

    def axes(self) -> Array:
        """Rows: to the right, upwards, towards the viewer."""
        turn, above = numpy.radians([self.turn, self.above])
        right = numpy.array([numpy.cos(turn), numpy.sin(turn), 0])
        back = numpy.array([numpy.sin(turn) * numpy.cos(above), -numpy.cos(turn) * numpy.cos(above), numpy.sin(above)])
        return numpy.stack([right, numpy.cross(back, right), back])


VIEWS = (View(35, 25), View(-60, 12))
"""From the front right and a little above; from the left side."""
LONG_VIEWS = (View(8, 30), View(-8, 12))
"""Of what is long: from the front, from higher and from lower."""
_LONG = 2.5
"""From how many times as wide (x) as deep and high a cloud is long: a street, not a thing."""


def render(cloud: Cloud, side: int) -> "list[tuple[Picture, tuple[int, int]]]":
    """Pictures in one scale that fill a tile of 2 `side` x `side`, and where in it: of the mesh, if the cloud has one, else of its points.

    Squares beside each other, one of each of `VIEWS`; what is long along x in strips, one below the other.
    """
    points, normals = _seen(cloud)
    low, high = points.min(0), points.max(0)
    wide, *others = (high - low).tolist()
    long = wide > _LONG * max(others)
    views = LONG_VIEWS if long else VIEWS
    width, height = (2 * side, side // 2) if long else (side, side)
    placed = [(points - (low + high) / 2) @ view.axes().T for view in views]
    room = numpy.array([1.0, height / width])
    reach = 1.1 * max(float((numpy.abs(seen[:, :2]) / room).max()) for seen in placed) or 1.0
    turned = [None if normals is None else normals @ view.axes().T for view in views]
    pictures = [_picture(seen / reach, normal, width, height) for seen, normal in zip(placed, turned)]
    return [(picture, (0, i * height) if long else (i * width, 0)) for i, picture in enumerate(pictures)]


def _seen(cloud: Cloud) -> tuple[Array, Array | None]:
    """Points to draw, with the normals of their faces if they are a mesh's."""
    if cloud.mesh is None:
        return cloud.points.detach().cpu().double().numpy(), None
    from anylatent_points.surface import draw_with_faces

    points, face = draw_with_faces(cloud.mesh, _SURFACE, seed=0)
    return points.double().numpy(), _normals(cloud.mesh)[face.numpy()]


def _normals(mesh: Mesh) -> Array:
    a, b, c = mesh.triangles.double().numpy().transpose(1, 0, 2)
    across = numpy.cross(b - a, c - a)
    return across / numpy.linalg.norm(across, axis=1, keepdims=True).clip(1e-12)


def _picture(placed: Array, normals: Array | None, width: int, height: int) -> "Picture":
    """Of points in view coordinates: x in [-1, 1], y in as much as there is room for, z towards the viewer."""
    from PIL import Image

    wide, high = width * _OVER, height * _OVER
    placed = placed * wide / 2
    if normals is None:
        placed, facing = _spheres(placed, wide)
        block = 1
    else:
        facing, block = normals * numpy.where(normals[:, 2:] < 0, -1, 1), _BLOCK
    order = numpy.argsort(placed[:, 2], kind="stable")
    pixels = _drawn(placed[order], _shaded(placed[order, 2], facing[order]), wide, high, block)
    small = pixels.reshape(height, _OVER, width, _OVER, 3).mean((1, 3))
    return Image.fromarray(small.round().clip(0, 255).astype("uint8"))


def _spheres(placed: Array, wide: int) -> tuple[Array, Array]:
    """The pixels of a small sphere at each point, with their normals; the fewer points, the larger."""
    radius = numpy.clip(0.3 * wide / numpy.sqrt(len(placed)), 1.5, wide / 30)
    reach = numpy.arange(-int(radius), int(radius) + 1)
    x, y = (axis.ravel() for axis in numpy.meshgrid(reach, reach))
    inside = x**2 + y**2 <= radius**2
    x, y = x[inside], y[inside]
    offsets = numpy.stack([x, y, numpy.sqrt(radius**2 - x**2 - y**2)], -1)
    return (placed[:, None] + offsets).reshape(-1, 3), numpy.tile(offsets / radius, (len(placed), 1))


def _shaded(depth: Array, normals: Array) -> Array:
    bright = 0.35 + 0.65 * (normals @ (_LIGHT / numpy.linalg.norm(_LIGHT))).clip(0, 1)
    near = ((depth - depth.min()) / max(depth.max() - depth.min(), 1e-9))[:, None]
    return (near * _NEAR + (1 - near) * _FAR) * bright[:, None] ** 0.8 + 12


def _drawn(placed: Array, colours: Array, wide: int, high: int, block: int) -> Array:
    """A picture `(high, wide, 3)` of squares `block` pixels wide, in the order given: what comes last is seen."""
    dx, dy = (axis.ravel() for axis in numpy.meshgrid(range(block), range(block)))
    x = (wide / 2 + placed[:, 0, None] - (block - 1) / 2 + dx).astype(int).ravel()
    y = (high / 2 - placed[:, 1, None] - (block - 1) / 2 + dy).astype(int).ravel()
    inside = (x >= 0) & (x < wide) & (y >= 0) & (y < high)
    pixels = numpy.full((high, wide, 3), _PAPER)
    pixels[y[inside], x[inside]] = colours.repeat(block * block, 0)[inside]
    return pixels
