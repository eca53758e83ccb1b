"""The set autoencoder: its contract, what it learns from, and that it learns."""

from functools import cache

import pytest
import torch
import trimesh

from anylatent.testing import TokenizerCase, TokenizerContract
from anylatent_points.cloud import Cloud, Mesh, without_mesh
from anylatent_points.fields import distance, inside, mesh_of, winding_number
from anylatent_points.latent import LatentConfig
from anylatent_points.latent_tokenizer import Latent
from anylatent_points.primitives import Primitives

TINY = {"latents": 4, "channels": 3, "width": 16, "heads": 2, "depth": 1, "queries": 32, "grid": 8, "points": 24}


def _clouds(categories: tuple[str, ...], count: int, points: int = 64) -> list[Cloud]:
    return list(Primitives(categories=categories, count=count, points=points).build("train").clouds)


class TestOccupancy(TokenizerContract):
    """Clouds of several sizes; untrained, it decodes to something else than it was given."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        samples = [_clouds(("chair", "mug"), 2, points)[points % 2] for points in (20, 33, 48, 64)]
        bad = [torch.zeros(8, 3), "a chair", Cloud(torch.full((8, 3), torch.nan))]
        return TokenizerCase(LatentConfig(**TINY), samples, bad=bad, sizes={4: 4}, round_trip=None)


class TestDistance(TokenizerContract):
    """Of bare clouds."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        samples = [without_mesh(cloud) for cloud in _clouds(("chair", "mug"), 4)]
        return TokenizerCase(LatentConfig(field="distance", **TINY), samples, bad=["a chair"], sizes={4: 4}, round_trip=None)


def _mesh(solid: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.tensor(solid.vertices).float(), torch.tensor(solid.faces).long())


def test_the_winding_number_tells_inside_from_outside() -> None:
    """1 in a ball, 0 outside; 2 where two boxes overlap, which is inside all the same; trimesh's own test agrees."""
    at = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 3 - 1.5
    ball = _mesh(trimesh.creation.icosphere(subdivisions=3))
    away = (at.norm(dim=1) - 1).abs() > 0.02
    torch.testing.assert_close(winding_number(ball, at)[away], (at.norm(dim=1) < 1).float()[away], atol=1e-3, rtol=0)
    boxes = _mesh(trimesh.util.concatenate([trimesh.creation.box([1, 1, 1]), trimesh.creation.box([2, 0.5, 0.5])]))
    expected = (at.abs() < 0.5).all(1).int() + (at.abs() < torch.tensor([1, 0.25, 0.25])).all(1).int()
    torch.testing.assert_close(winding_number(boxes, at), expected.float(), atol=1e-3, rtol=0)
    assert torch.equal(inside(boxes, at), expected > 0)


def test_distance_is_to_the_surface() -> None:
    at = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) * 3 - 1.5
    ball = Cloud(torch.zeros(1, 3), mesh=_mesh(trimesh.creation.icosphere(subdivisions=3)))
    torch.testing.assert_close(distance(ball, at), (at.norm(dim=1) - 1).abs(), atol=0.05, rtol=0)
    assert distance(Cloud(torch.tensor([[1.0, 0, 0], [0, 1, 0]])), torch.tensor([[3.0, 0, 0]])).tolist() == [2.0]


def test_a_field_becomes_a_closed_mesh() -> None:
    """Of a ball: its radius, its volume, outward; one that fills the cube is closed at the cube; nothing is no mesh."""
    mesh, _ = mesh_of(lambda at: 0.7 - at.norm(dim=1), 32)
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy())
    assert solid.is_watertight
    assert solid.volume == pytest.approx(4 / 3 * torch.pi * 0.7**3, rel=0.02)
    full, _ = mesh_of(lambda at: torch.ones(len(at)), 8)
    assert trimesh.Trimesh(full.vertices.numpy(), full.faces.numpy()).is_watertight
    nothing, likeliest = mesh_of(lambda at: -at.norm(dim=1), 8)
    assert nothing is None
    assert likeliest[0].norm() < 0.2


@cache
def _trained(field: str) -> tuple[Latent, list[Cloud]]:
    """A small one after some steps on boxes and balls."""
    clouds = _clouds(("box", "sphere"), 12)
    config = LatentConfig(field=field, latents=8, channels=4, width=32, heads=2, depth=1, queries=64, grid=16, points=64, shell=0.12)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        latent = config.build(clouds[0])
    optimizer = torch.optim.AdamW(latent.parameters(), 4e-3)
    for step in range(80):
        loss = latent.loss(clouds, torch.arange(len(clouds)) + 100 * step)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    latent.eval()
    latent.fit(clouds)
    return latent, clouds


@pytest.mark.parametrize("field", ["occupancy", pytest.param("distance", marks=pytest.mark.slow)])
def test_it_learns_where_solids_are(field: str) -> None:
    """Right at five of six coordinates; what it decodes has a mesh, with its points on that."""
    latent, clouds = _trained(field)
    with torch.no_grad():
        assert latent.loss(clouds, torch.arange(len(clouds)))[1]["right"] > 0.83
    (made,) = latent.decode(latent.encode(clouds[:1]))
    assert made.mesh is not None
    assert len(made) == 64
    around = 2 * latent.config.shell if field == "distance" else 0.0  # an unsigned distance is meshed as a shell
    torch.testing.assert_close(made.extent, clouds[0].extent + around, atol=0.35, rtol=0)
    nearest = (made.points[:, None] - made.mesh.triangles.mean(1)).norm(dim=-1).amin(1)
    assert nearest.max() < 0.2


def test_a_field_is_asked_anywhere() -> None:
    """The middle of a solid is inside, a corner of the cube is not; many coordinates give what each gives alone."""
    latent, clouds = _trained("occupancy")
    latents = latent.latents_of(latent.encode(clouds[:1]))
    at = torch.rand(9000, 3) * 2 - 1
    with torch.no_grad():
        values = latent.ask(latents, at)
        torch.testing.assert_close(latent.ask(latents, at[8500:8501]), values[8500:8501], atol=1e-4, rtol=1e-4)
        assert latent.ask(latents, torch.zeros(1, 3)) > 0
        assert latent.ask(latents, torch.ones(1, 3)) < 0


def test_what_it_cannot_learn_from_is_refused() -> None:
    bare = [without_mesh(cloud) for cloud in _clouds(("box",), 2)]
    with pytest.raises(ValueError, match=r"sample 0 is a bare cloud: points\.latent learns occupancy .* choose `field: distance`"):
        LatentConfig(**TINY).build(bare[0]).loss(bare, torch.arange(2))
    with pytest.raises(ValueError, match="width 20 cannot be shared by 4 heads of even width: choose a multiple of 8"):
        LatentConfig(width=20)
    with pytest.raises(ValueError, match=r"size 5: points\.latent makes 4 latents a cloud, of no other size"):
        LatentConfig(**TINY).build(bare[0]).layout(torch.arange(2), size=5)
