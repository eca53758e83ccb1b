"""A point cloud: points on a surface in a frame of their own, with the scale that leads back to the world."""

from dataclasses import dataclass, replace
from typing import Any

from anylatent.lazy import torch
from anylatent.types import Float, Int, Tensor

Unit = str
"""The name of a length: `m`, or empty where nobody knows."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles: `vertices` `(v, 3)` and the three corners of each face, `(f, 3)`, outward by the right hand."""

    vertices: Float[Tensor, "vertices 3"]
    faces: Int[Tensor, "faces 3"]

    @property
    def triangles(self) -> Float[Tensor, "faces 3 3"]:
        """The corners of each face."""
        return self.vertices[self.faces]


@dataclass(frozen=True)
class Cloud:
    """Points `(n, 3)` float32, z up, in a box that is centred on 0 and has half a diagonal of 1.

    `scale`: the length of 1 in `unit` (half the diagonal of the object's box); a cloud that was made has 1 and no unit.
    `mesh`: the surface that the points lie on, in the same frame, where it is known.
    """

    points: Tensor
    scale: float = 1.0
    unit: Unit = ""
    mesh: Mesh | None = None

    def __len__(self) -> int:
        return len(self.points)

    @property
    def extent(self) -> Float[Tensor, " 3"]:
        """Width (x), depth (y) and height (z) of the box around the surface, or around the points if it is not known."""
        corners = self.points if self.mesh is None else self.mesh.vertices
        return corners.amax(0) - corners.amin(0)


@dataclass(frozen=True)
class Frame:
    """Where an object was, and how large: its box's centre, and half the box's diagonal."""

    centre: Float[Tensor, " 3"]
    scale: float

    @staticmethod
    def of(corners: Float[Tensor, "corners 3"]) -> "Frame":
        """The frame of the box around these. Errors: `ValueError` if they are all in one place."""
        low, high = corners.amin(0), corners.amax(0)
        scale = float((high - low).double().norm()) / 2
        if not scale > 1e-9:
            raise ValueError("all of it is in one place: it has no size")
        return Frame((low + high) / 2, scale)

    def normalise(self, corners: Float[Tensor, "corners 3"]) -> Float[Tensor, "corners 3"]:
        return (corners - self.centre) / self.scale


def check_points(sample: Any) -> str:
    """What is wrong with a sample that should be a cloud, in words; empty if nothing is."""
    if not isinstance(sample, Cloud):
        return f"a {type(sample).__name__}"
    points = sample.points
    shape = tuple(points.shape)
    if points.dtype != torch.float32 or points.dim() != 2 or shape[1] != 3 or not len(points):
        return f"a Cloud whose points are {str(points.dtype).removeprefix('torch.')} of shape {shape}"
    bad = int((~points.isfinite()).any(1).sum())
    return f"a Cloud with {bad} of {len(points)} points not finite" if bad else ""


def made(points: Float[Tensor, "points 3"], mesh: Mesh | None = None) -> Cloud:
    """A cloud that a model made: without scale and unit, in whatever frame it was made."""
    return Cloud(points.detach().cpu().float().contiguous(), mesh=mesh)


def without_mesh(cloud: Cloud) -> Cloud:
    """The points alone."""
    return replace(cloud, mesh=None)
