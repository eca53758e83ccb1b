"""Reading, showing and writing clouds."""

import io
from pathlib import Path

import numpy
import pytest
import torch
import trimesh
from PIL import Image

from anylatent.testing import ModalityCase, ModalityContract
from anylatent_points.cloud import Cloud, Mesh, without_mesh
from anylatent_points.modality import Points
from anylatent_points.primitives import Primitives

DATA = Primitives(count=6, points=64)


def _clouds() -> list[Cloud]:
    return list(DATA.build("train").clouds)


class TestPoints(ModalityContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        return ModalityCase(Points(data=DATA), [without_mesh(cloud) for cloud in _clouds()[:3]])


class TestMeshes(ModalityContract):
    """With meshes; a .ply holds the points alone, which are what a sample is."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        return ModalityCase(Points(data=DATA), _clouds()[:2])


def _shown(cloud: Cloud) -> numpy.ndarray:
    png = Points(data=DATA).sheet([cloud])
    return numpy.asarray(Image.open(io.BytesIO(png)).convert("L")).astype(float)[8:136, 8:264]


def test_a_sheet_shows_the_outline() -> None:
    """A pole is dark where it stands and white beside it, from both sides; a plate is wider than it is high."""
    height = torch.linspace(-1, 1, 200)[:, None]
    pole = _shown(Cloud(torch.cat((torch.zeros(200, 2), height), 1)))
    for view in (pole[:, :128], pole[:, 128:]):
        assert view[40:90, 58:70].min(1).max() < 200
        assert (view[:, :40] == 255).all()
        assert (view[:, 90:] == 255).all()
    angle = torch.arange(200) * 0.7
    plate = _shown(Cloud(torch.stack((angle.cos(), angle.sin(), torch.zeros(200)), 1)))[:, :128] < 255
    assert plate.any(0).sum() > 1.5 * plate.any(1).sum()


def test_near_hides_far() -> None:
    """Of two walls the front one is seen, and it is the darker: a mesh and the same with another wall behind look alike."""
    wall = Mesh(torch.tensor([[-1.0, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]]), torch.tensor([[0, 1, 2], [0, 2, 3]]))
    behind = wall.vertices * 0.3 + torch.tensor([0.0, 0.4, 0.0])
    both = Mesh(torch.cat((wall.vertices, behind)), torch.cat((wall.faces, wall.faces + 4)))
    points = torch.rand(8, 3)
    alone, hidden = (_shown(Cloud(points, mesh=mesh))[:, :128] for mesh in (wall, both))
    assert numpy.abs(alone - hidden)[40:90, 50:80].mean() < 25
    assert hidden[40:90, 50:80].max() < 220


def test_what_is_long_is_shown_in_two_strips() -> None:
    """A rod along x fills the tile's width twice, one strip below the other; along y it is a thing like any other."""
    along = torch.linspace(-3, 3, 300)
    rod = _shown(Cloud(torch.stack((along, 0 * along, 0.05 * along.cos()), 1))) < 255
    for strip in (rod[:64], rod[64:]):
        across, down = strip.any(0).nonzero()[0], strip.any(1).nonzero()[0]
        assert across.max() - across.min() > 210
        assert 3 < down.max() - down.min() < 40
    deep = _shown(Cloud(torch.stack((0 * along, along, 0.05 * along.cos()), 1))) < 255
    assert deep[:, :128].any()
    assert deep[:, 128:].any()
    assert deep[60:68].any(), "in the middle of the tile, where strips meet"


def test_a_sheet_needs_clouds_and_as_many_captions() -> None:
    modality = Points(data=DATA)
    with pytest.raises(ValueError, match="at least one cloud, given none"):
        modality.sheet([])
    with pytest.raises(ValueError, match="1 captions for 2 clouds: give one each, or none"):
        modality.sheet(_clouds()[:2], ["one"])


def test_written_files_open_elsewhere(tmp_path: Path) -> None:
    """In trimesh, without this plugin: the .ply has the points, the .glb the mesh, y up."""
    cloud = _clouds()[0]
    written = {path.name: path for path in Points(data=DATA).write([cloud], tmp_path)}
    assert set(written) == {"0000.ply", "0000.glb", "sheet.png"}
    points = trimesh.load(written["0000.ply"])
    numpy.testing.assert_array_equal(numpy.asarray(points.vertices, dtype="float32"), cloud.points.numpy())
    mesh = trimesh.load_mesh(written["0000.glb"])
    assert len(mesh.faces) == len(cloud.mesh.faces)
    numpy.testing.assert_allclose(mesh.extents, cloud.extent[[0, 2, 1]], atol=1e-5)


def test_scale_and_unit_come_back(tmp_path: Path) -> None:
    modality, cloud = Points(data=DATA), _clouds()[1]
    read = modality.read(modality.write([cloud], tmp_path)[0])
    assert torch.equal(read.points, cloud.points)
    assert (read.scale, read.unit) == (cloud.scale, "m")


def test_identity_does_not_depend_on_the_order_of_points() -> None:
    modality, cloud = Points(data=DATA), _clouds()[0]
    assert modality.identity(Cloud(cloud.points.flip(0))) == modality.identity(cloud)
    assert modality.identity(Cloud(cloud.points + 0.001)) != modality.identity(cloud)


@pytest.mark.parametrize("suffix", [".obj", ".stl", ".glb", ".ply"])
def test_a_mesh_file_becomes_a_cloud_on_its_surface(tmp_path: Path, suffix: str) -> None:
    """As many points as the data set's clouds have, in the normalised frame; .obj and .glb stand up, z is up then."""
    path = tmp_path / f"slab{suffix}"
    trimesh.creation.box([4, 2, 1]).export(path)
    cloud = Points(data=DATA).read(path)
    assert len(cloud) == DATA.points
    assert cloud.scale == pytest.approx(21**0.5 / 2, rel=1e-5)
    sides = [4, 1, 2] if suffix in (".obj", ".glb") else [4, 2, 1]
    torch.testing.assert_close(cloud.extent * cloud.scale, torch.tensor(sides).float(), atol=1e-4, rtol=0)
    on_a_face = ((cloud.points.abs() - cloud.extent / 2).abs() < 1e-4).any(1)
    assert on_a_face.all()
    assert torch.equal(Points(data=DATA).read(path).points, cloud.points)


def test_a_bare_cloud_keeps_its_points(tmp_path: Path) -> None:
    points = numpy.random.default_rng(0).normal(size=(37, 3)) * 5 + 3
    trimesh.PointCloud(points).export(tmp_path / "scan.ply")
    cloud = Points(data=DATA).read(tmp_path / "scan.ply")
    assert len(cloud) == 37
    assert cloud.mesh is None
    torch.testing.assert_close(cloud.extent.norm(), torch.tensor(2.0))


def _export(path: Path, vertices, faces) -> Path:
    trimesh.Trimesh(vertices, faces, process=False).export(path)
    return path


def test_broken_files_say_what_is_wrong(tmp_path: Path) -> None:
    corners = numpy.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    modality = Points(data=DATA)
    broken = corners.copy()
    broken[1, 1] = numpy.nan
    with pytest.raises(ValueError, match=r"nan\.ply: 1 of its 3 vertices are not finite numbers"):
        modality.read(_export(tmp_path / "nan.ply", broken, [[0, 1, 2]]))
    with pytest.raises(ValueError, match=r"flat\.ply: the mesh has no surface: its faces have no area"):
        modality.read(_export(tmp_path / "flat.ply", corners, [[0, 1, 1], [2, 3, 3]]))
    (tmp_path / "none.obj").write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"none\.obj: it"):
        modality.read(tmp_path / "none.obj")
    (tmp_path / "empty.stl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.stl: the file is empty"):
        modality.read(tmp_path / "empty.stl")
    trimesh.PointCloud(numpy.ones((5, 3))).export(tmp_path / "dot.ply")
    with pytest.raises(ValueError, match=r"dot\.ply: all of it is in one place: it has no size"):
        modality.read(tmp_path / "dot.ply")
    (tmp_path / "chair.step").write_text("x")
    with pytest.raises(ValueError, match=r"chair\.step: expected a file that ends in \.ply, \.obj, \.stl, \.glb"):
        modality.read(tmp_path / "chair.step")
    whole = (modality.write(_clouds()[:1], tmp_path / "made")[0]).read_bytes()
    (tmp_path / "cut.ply").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"cut\.ply is damaged: it says 64 points"):
        modality.read(tmp_path / "cut.ply")


def test_holes_and_edges_of_three_faces_are_no_obstacle(tmp_path: Path) -> None:
    """A mesh that is not closed, with a third face on an edge and a vertex that no face uses."""
    vertices = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, -1, 0], [50, 50, 50]]
    cloud = Points(data=DATA).read(_export(tmp_path / "fan.ply", vertices, [[0, 1, 2], [0, 1, 3], [0, 1, 4]]))
    torch.testing.assert_close(cloud.extent * cloud.scale, torch.tensor([1.0, 2.0, 1.0]), atol=1e-5, rtol=0)
