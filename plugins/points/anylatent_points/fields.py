"""What a shape is at any coordinate: inside or outside, and how far from its surface. And a mesh of such a field."""

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch

from anylatent import random
from anylatent.random import seed_of
from anylatent.types import Bool, Float, Tensor
from anylatent_points.cloud import Cloud, Mesh
from anylatent_points.surface import draw

REACH = 1.05
"""Half the side of the cube around a shape: its box lies in [-1, 1]."""
PROBES = 1024
"""Coordinates at which a shape is known for training: half of them near its surface."""
_NEAR = (0.06, 0.015)
"""How far from the surface, as standard deviations a coordinate, those are in turn: the nearer ones fall inside of what is thin."""
_DENSE = 4096
"""Points that stand for a mesh where a distance to it is asked."""
_ANGLES = 400_000
"""Solid angles that are computed together: bounds the memory."""


def winding_number(mesh: Mesh, at: Float[Tensor, "queries 3"]) -> Float[Tensor, " queries"]:
    """How often the surface goes around each coordinate (Jacobson et al. 2013, "Robust inside-outside segmentation", eq. 5).

    Parts that overlap add up, so what is inside any closed part has 1 or more. Solid angles: Van Oosterom & Strackee 1983.
    """
    found = []
    for part in at.split(max(1, _ANGLES // max(1, len(mesh.faces)))):
        a, b, c = (mesh.triangles[None] - part[:, None, None]).unbind(2)
        x, y, z = a.norm(dim=-1), b.norm(dim=-1), c.norm(dim=-1)
        volume = (a * torch.linalg.cross(b, c)).sum(-1)
        across = x * y * z + (a * b).sum(-1) * z + (b * c).sum(-1) * x + (c * a).sum(-1) * y
        found.append(torch.atan2(volume, across).sum(1) / (2 * torch.pi))
    return torch.cat(found)


def inside(mesh: Mesh, at: Float[Tensor, "queries 3"]) -> Bool[Tensor, " queries"]:
    """Whether each coordinate is inside of a closed part."""
    return winding_number(mesh, at) > 0.5


def distance(cloud: Cloud, at: Float[Tensor, "queries 3"]) -> Float[Tensor, " queries"]:
    """How far each coordinate is from the surface: from 4,096 points on the mesh, or from the cloud's own if it has none."""
    from scipy.spatial import KDTree

    surface = cloud.points if cloud.mesh is None else draw(cloud.mesh, _DENSE, 0)
    return torch.from_numpy(KDTree(surface.double().numpy()).query(at.double().numpy())[0]).float()


@dataclass(frozen=True)
class Probes:
    """Coordinates at which a shape is known: whether it is there (if it has a mesh), and how far its surface is."""

    at: Float[Tensor, "queries 3"]
    inside: Bool[Tensor, " queries"] | None
    distance: Float[Tensor, " queries"]


_KNOWN: "WeakKeyDictionary[Mesh, Probes]" = WeakKeyDictionary()


def probes(cloud: Cloud) -> Probes:
    """What training knows of a shape; computed once for a mesh. Half near the surface, a quarter each in its box and in the cube."""
    if cloud.mesh is None:
        at = _coordinates(cloud)
        return Probes(at, None, distance(cloud, at))
    if cloud.mesh not in _KNOWN:
        at = _coordinates(cloud)
        _KNOWN[cloud.mesh] = Probes(at, inside(cloud.mesh, at), distance(cloud, at))
    return _KNOWN[cloud.mesh]


def in_box(cloud: Cloud, count: int) -> Float[Tensor, "count 3"]:
    """Coordinates that are uniform in the cloud's box."""
    return (random.uniform(torch.tensor([seed_of("in box")]), "box", 0, 0, 3 * count).reshape(count, 3) - 0.5) * cloud.extent


def _coordinates(cloud: Cloud) -> Float[Tensor, "queries 3"]:
    seed = torch.tensor([seed_of("probes")])
    near = cloud.points if cloud.mesh is None else draw(cloud.mesh, PROBES // 2, 0)
    chosen = (random.uniform(seed, "near", 0, 0, PROBES // 2)[0] * len(near)).long()
    spread = torch.tensor(_NEAR).repeat(PROBES // 4)[:, None]
    near = near[chosen] + spread * random.normal(seed, "near", 0, 0, PROBES // 2, 3)[0]
    cube = (random.uniform(seed, "cube", 0, 0, 3 * PROBES // 4).reshape(-1, 3) * 2 - 1) * REACH
    return torch.cat((near, in_box(cloud, PROBES // 4), cube))


def mesh_of(field: Callable[[Float[Tensor, "queries 3"]], Float[Tensor, " queries"]], cells: int) -> tuple[Mesh | None, Tensor]:
    """The surface where a field is 0, closed, outward from where it is positive (marching cubes: Lewiner et al. 2003).

    Also the coordinates that were asked, the most positive first; the mesh is None if the field is positive nowhere.
    """
    from skimage.measure import marching_cubes

    line = torch.linspace(-REACH, REACH, cells + 1)
    at = torch.cartesian_prod(line, line, line)
    values = field(at)
    order = at[values.argsort(descending=True, stable=True)]
    if not bool((values > 0).any()):
        return None, order
    cube = values.reshape(cells + 1, cells + 1, cells + 1)
    closed = torch.nn.functional.pad(cube, (1,) * 6, value=-max(1e-3, float(values.abs().max())))
    step = 2 * REACH / cells
    vertices, faces, _, _ = marching_cubes(closed.numpy(), 0.0, spacing=(step,) * 3, gradient_direction="ascent", allow_degenerate=False)
    corners = torch.from_numpy(vertices.copy()).float() - REACH - step
    return Mesh(corners, torch.from_numpy(faces.astype("int64"))), order
