"""Points on surfaces: area-weighted, by seed, and evenly spread if asked."""

from collections.abc import Sequence

import torch

from anylatent import random
from anylatent.types import Float, Int, Tensor
from anylatent_points.cloud import Cloud, Frame, Mesh

CANDIDATES = 4
"""Points drawn for each that is kept, where they are to be spread evenly."""
_AT_ONCE = 16
"""Clouds that are thinned together: few enough for a processor's cache."""


def areas(mesh: Mesh) -> Float[Tensor, " faces"]:
    """The area of each face, in double."""
    a, b, c = mesh.triangles.double().unbind(1)
    return torch.linalg.cross(b - a, c - a).norm(dim=-1) / 2


def draw(mesh: Mesh, count: int, seed: int) -> Float[Tensor, "count 3"]:
    """`count` independent points, uniform on the surface. Errors: `ValueError` if the mesh has no area."""
    return draw_with_faces(mesh, count, seed)[0]


def draw_with_faces(mesh: Mesh, count: int, seed: int) -> tuple[Float[Tensor, "count 3"], Int[Tensor, " count"]]:
    """Points uniform on the surface, with the face that each is on (Osada et al. 2002, "Shape distributions", eq. 1).

    Errors: `ValueError` if the mesh has no area.
    """
    edges = areas(mesh).cumsum(0)
    if not len(edges) or not float(edges[-1]) > 0:
        raise ValueError("the mesh has no surface: its faces have no area")
    which, u, v = random.uniform(torch.tensor([seed]), "surface", 0, 0, 3 * count).reshape(3, count).double()
    face = torch.searchsorted(edges, which * edges[-1]).clamp(max=len(edges) - 1)
    a, b, c = mesh.triangles[face].double().unbind(1)
    root, v = u.sqrt()[:, None], v[:, None]
    return ((1 - root) * a + root * (1 - v) * b + root * v * c).float(), face


def farthest(points: Float[Tensor, "rows n 3"], count: int) -> Int[Tensor, "rows count"]:
    """Farthest point sampling from each row's first point (Eldar et al. 1997): each next is the farthest from those before."""
    rows = torch.arange(len(points))
    chosen = torch.zeros(len(points), count, dtype=torch.int64)
    distance = torch.full(points.shape[:2], torch.inf)
    for step in range(1, count):
        distance = torch.minimum(distance, (points - points[rows, chosen[:, step - 1]][:, None]).square().sum(-1))
        chosen[:, step] = distance.argmax(1)
    return chosen


def sample_surfaces(meshes: Sequence[Mesh], count: int, seeds: Sequence[int], *, even: bool) -> list[Float[Tensor, "count 3"]]:
    """`count` points on each mesh: area-weighted, and thinned from `CANDIDATES` times as many if they are to be even."""
    if not even:
        return [draw(mesh, count, seed) for mesh, seed in zip(meshes, seeds, strict=True)]
    found: list[Tensor] = []
    for first in range(0, len(meshes), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        drawn = torch.stack([draw(mesh, CANDIDATES * count, seed) for mesh, seed in zip(meshes[part], seeds[part], strict=True)])
        found += list(torch.gather(drawn, 1, farthest(drawn, count)[..., None].expand(-1, -1, 3)).clone())
    return found


def clouds_of(meshes: Sequence[Mesh], count: int, seeds: Sequence[int], *, even: bool, unit: str) -> list[Cloud]:
    """A cloud of each mesh, normalised by the mesh's box (not the points'), with its mesh in the same frame."""
    frames = [Frame.of(mesh.vertices) for mesh in meshes]
    placed = [Mesh(frame.normalise(mesh.vertices), mesh.faces) for frame, mesh in zip(frames, meshes, strict=True)]
    points = sample_surfaces(placed, count, seeds, even=even)
    return [Cloud(x, frame.scale, unit, mesh) for x, frame, mesh in zip(points, frames, placed, strict=True)]
