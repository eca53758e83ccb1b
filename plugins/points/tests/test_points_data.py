"""The data sets: their contract, what they hold, and what happens to files that are no meshes."""

import zipfile
from collections import Counter
from pathlib import Path
from typing import get_args

import numpy
import pytest
import torch
import trimesh

from anylatent.files import cache_folder
from anylatent.testing import DatasetCase, DatasetContract
from anylatent_points.cloud import Mesh
from anylatent_points.fields import winding_number
from anylatent_points.folder import Folder
from anylatent_points.furniture import Furniture
from anylatent_points.mesh_files import read_cloud
from anylatent_points.modality import Points
from anylatent_points.primitives import Category, Primitives
from anylatent_points.surface import areas, draw, farthest

FETCHED = cache_folder() / "data" / Furniture.source.path.name


class TestPrimitives(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> DatasetCase:
        config = Primitives(count=30, test_count=18, points=64)
        return DatasetCase(config, Points(data=config))


def _rows(dataset) -> list:
    return [dataset.conditions(i) for i in range(len(dataset))]


def _all_categories() -> Primitives:
    return Primitives(categories=get_args(Category), count=30, points=64)


def test_objects_are_closed_and_where_they_should_be() -> None:
    """Of every category: the frame is the box's, the points are on the surface, every part is closed and turned outwards."""
    train = _all_categories().build("train")
    assert Counter(row["category"] for row in _rows(train)) == dict.fromkeys(get_args(Category), 2)
    for cloud, row in zip(train.clouds, _rows(train)):
        corners = cloud.mesh.vertices
        torch.testing.assert_close(corners.amax(0), -corners.amin(0), atol=1e-5, rtol=0)
        assert cloud.extent.norm().item() == pytest.approx(2, abs=1e-4)
        assert cloud.unit == "m"
        assert row["extent"] == pytest.approx(cloud.extent.tolist(), abs=1e-3)
        surface = draw(cloud.mesh, 3000, 1)
        assert torch.cdist(cloud.points, surface).amin(1).max() < 0.12
        at = torch.rand(300, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
        around = winding_number(cloud.mesh, at)
        assert (around - around.round()).abs().max() < 1e-2, f"{row['category']} has a hole"
        assert around.min() > -1e-2, f"a part of a {row['category']} is inside out"


def test_proportions_vary_and_categories_keep_apart() -> None:
    config = Primitives(categories=("chair",), count=20, points=16)
    extents = torch.stack([cloud.extent for cloud in config.build("train").clouds])
    assert extents.std(0).min() > 0.02
    other = config.model_copy(update={"seed": 1}).build("train")
    assert other.fingerprint() != config.build("train").fingerprint()


def test_captions_say_what_is_seen() -> None:
    train = _all_categories().build("train")
    captions = {row["category"]: row["caption"] for row in _rows(train)}
    assert captions["lamp"] in ("a tall lamp", "a lamp")
    assert captions["torus"] == "a low torus"
    assert all(row["category"] in row["caption"] for row in _rows(train))


def test_points_are_drawn_by_area() -> None:
    """Of two squares, one nine times the other: nine points in ten are on the larger; evenly, they are farther apart."""
    square = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    mesh = Mesh(torch.cat((square, square * 3 + 10)), torch.cat((faces, faces + 4)))
    torch.testing.assert_close(areas(mesh), torch.tensor([0.5, 0.5, 4.5, 4.5], dtype=torch.float64))
    points = draw(mesh, 20_000, 0)
    assert (points[:, 0] > 5).float().mean().item() == pytest.approx(0.9, abs=0.01)
    torch.testing.assert_close(points[points[:, 0] > 5].mean(0), torch.tensor([11.5, 11.5, 10]), atol=0.05, rtol=0)
    even = points[farthest(points[None], 50)[0]]
    plain = points[:50]
    gaps = [(torch.cdist(x, x) + 9 * torch.eye(50)).amin(1).mean() for x in (even, plain)]
    assert gaps[0] > 1.3 * gaps[1]


def test_a_category_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="a category is named twice"):
        Primitives(categories=("chair", "chair"))


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """Ten boxes in two subfolders and the root, in four formats."""
    for number in range(10):
        folder = tmp_path / "things" / ("low", "high", "")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        suffix = (".ply", ".obj", ".stl", ".glb")[number % 4]
        trimesh.creation.box([1, 2, 0.2 + 0.3 * number]).export(folder / f"box_{number}{suffix}")
    return tmp_path / "things"


class TestFolder(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> DatasetCase:
        root = tmp_path_factory.mktemp("things")
        for number in range(12):
            trimesh.creation.box([1, 2, 0.2 + 0.3 * number]).export(root / f"{number}.ply")
        config = Folder(path=str(root), points=32, test_share=0.3)
        return DatasetCase(config, Points(data=config))


def _records(config) -> dict[str, object]:
    datasets = [config.build("train"), config.build("test")]
    return {dataset[i].id: dataset[i] for dataset in datasets for i in range(len(dataset))}


def test_a_folder_knows_categories_and_captions(meshes: Path) -> None:
    records = _records(Folder(path=str(meshes), points=32))
    assert len(records) == 10
    low = records["low/box_0.ply"]
    assert (low.conditions["category"], low.conditions["caption"], len(low.sample)) == ("low", "box 0", 32)
    assert "category" not in records["box_2.stl"].conditions


def test_bad_files_are_named_and_skipped(meshes: Path) -> None:
    """Empty, truncated, NaN, without area, too few points, and a name that only looks like a mesh."""
    (meshes / "empty.obj").write_bytes(b"")
    whole = (meshes / "high" / "box_7.glb").read_bytes()
    (meshes / "cut.glb").write_bytes(whole[: len(whole) // 2])
    corners = numpy.array([[0, 0, 0], [1, 0, 0], [0, numpy.nan, 0]])
    trimesh.Trimesh(corners, [[0, 1, 2]], process=False).export(meshes / "nan.ply")
    trimesh.Trimesh(numpy.eye(3), [[0, 0, 1]], process=False).export(meshes / "flat.ply")
    trimesh.PointCloud(numpy.random.default_rng(0).random((5, 3))).export(meshes / "few.ply")
    (meshes / "text.stl").write_text("not a mesh")
    (meshes / "notes.txt").write_text("no mesh, and not taken for one")
    (meshes / ".hidden.ply").write_bytes(b"")
    config = Folder(path=str(meshes), points=32)
    datasets = [config.build("train"), config.build("test")]
    assert sum(map(len, datasets)) == 10
    problems = sorted(problem for dataset in datasets for problem in dataset.problems)
    assert [Path(problem.split(":")[0]).name for problem in problems] == [
        "cut.glb",
        "empty.obj",
        "few.ply",
        "flat.ply",
        "nan.ply",
        "text.stl",
    ]
    assert "it has 5 points, 32 are asked for by `points`" in problems[2]
    with pytest.raises(ValueError, match=r"cut\.glb|empty\.obj|few\.ply|flat\.ply|nan\.ply|text\.stl"):
        [config.model_copy(update={"strict": True}).build(split) for split in ("train", "test")]


@pytest.mark.parametrize("suffix", ["ply", "stl", "glb", "obj"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
def test_a_mesh_cut_off_is_named(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"box.{suffix}"
    trimesh.creation.box([1, 2, 3]).export(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"box\.{suffix}: (the file is empty|it cannot be read as|it is empty)"):
        read_cloud(path, 16)


def test_what_no_surface_has_is_refused(tmp_path: Path) -> None:
    """Faces of vertices that are not there, infinite and overflowing numbers, all in one place."""
    corners = "v 0 0 0\nv 1 0 0\nv 0 {} 0\n"
    wrong = {
        "far": (corners.format(1) + "f 1 2 9\n", "it cannot be read as .obj"),
        "inf": (corners.format("inf") + "f 1 2 3\n", "1 of its 3 vertices are not finite numbers"),
        "huge": (corners.format("1e300") + "f 1 2 3\n", "1 of its 3 vertices are not finite numbers"),
        "point": ("v 1 1 1\n" * 3 + "f 1 2 3\n", "all of it is in one place"),
    }
    for name, (text, why) in wrong.items():
        path = tmp_path / f"{name}.obj"
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"{name}\.obj: .*{why}"):
            read_cloud(path, 16)


def test_non_manifold_and_open_meshes_are_read(tmp_path: Path) -> None:
    """Three faces at an edge, a face twice, a face without area: a surface is all that is asked, and every point is on it."""
    corners = numpy.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1.0]])
    faces = [[0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 4], [0, 0, 1]]
    fan = trimesh.Trimesh(corners, faces, process=False)
    assert not fan.is_watertight
    fan.export(tmp_path / "fan.ply")
    cloud = read_cloud(tmp_path / "fan.ply", 64)
    assert len(cloud) == 64
    assert cloud.mesh is not None
    _, y, z = cloud.points.T
    floor = cloud.mesh.vertices[:, 2].min()
    assert torch.minimum(y.abs(), (z - floor).abs()).max() < 1e-5, "two faces lie on the floor, one stands on it along x"
    assert ((z - floor).abs() > 1e-3).any()


def test_a_folder_without_meshes_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere: points\.folder needs `path`"):
        Folder(path=str(tmp_path / "nowhere")).build("train")
    with pytest.raises(ValueError, match=r"holds 0 different meshes and clouds, expected 2 or more .* files that end in \.ply"):
        Folder(path=str(tmp_path)).build("train")
    for name in ("a.ply", "b.ply"):
        (tmp_path / name).write_bytes(name.encode())
    with pytest.raises(ValueError, match=r"none of .* split 'train' .* can be read \(1 tried\); the first: .*\.ply"):
        Folder(path=str(tmp_path)).build("train")


def _library(path: Path, count: int = 12, **changes: str) -> Path:
    """A library like the real ones: a catalogue and OBJ files, y up."""
    lines = ["id=Test", "name=A library"]
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1, count + 1):
            facts = {
                "id": f"Test#{number}", "name": f"Box {number}", "category": ("Kitchen", "Caf\\u00e9")[number % 2],
                "model": f"/test/box{number}.obj", "width": "50.0", "depth": "40.0", "height": str(20.0 + number),
            }  # fmt: skip
            facts |= changes if number == 1 else {}
            lines += [f"{key}#{number}={value}" for key, value in facts.items()]
            solid = trimesh.creation.box([5, 1 + number / 10, 4])
            archive.writestr(f"test/box{number}.obj", solid.export(file_type="obj"))
        archive.writestr("PluginFurnitureCatalog.properties", "\n".join(lines))
        archive.writestr("test/broken.obj", "v 0 0\nf 1 2 3\n")
    return path


@pytest.fixture(scope="class")
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYLATENT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.usefixtures("own_cache")
class TestFurniture(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory, own_cache) -> DatasetCase:
        library = _library(tmp_path_factory.mktemp("library") / "test.sh3f")
        config = Furniture(path=str(library), points=32, test_share=0.3)
        return DatasetCase(config, Points(data=config))

    def test_sizes_and_names_are_the_catalogues(self, case) -> None:
        """In metres, z up; letters as Java writes them."""
        records = _records(case.config)
        assert len(records) == 12
        box = records["Test#5"]
        assert {key: box.conditions[key] for key in ("category", "caption")} == {"category": "Café", "caption": "Box 5"}
        side = torch.tensor(box.conditions["extent"]) * box.sample.scale
        torch.testing.assert_close(side, torch.tensor([0.5, 0.4, 0.25]), atol=2e-3, rtol=0)

    def test_categories_are_chosen(self, case) -> None:
        kitchen = case.config.model_copy(update={"categories": ("Kitchen",)})
        assert {row["category"] for row in _rows(kitchen.build("train"))} == {"Kitchen"}
        with pytest.raises(ValueError, match=r"points\.furniture has no category \['Attic'\]: there are \['Café', 'Kitchen'\]"):
            case.config.model_copy(update={"categories": ("Attic",)}).build("train")


@pytest.mark.usefixtures("own_cache")
def test_broken_pieces_are_named_and_skipped(tmp_path: Path) -> None:
    for number, (model, why) in enumerate({"/test/none.obj": "cannot be read", "/test/broken.obj": "it", "/a.dae": "is no .obj"}.items()):
        library = _library(tmp_path / f"{number}.sh3f", model=model)
        if model == "/a.dae":
            with zipfile.ZipFile(library, "a") as archive:
                archive.writestr("a.dae", "<x/>")
        train = Furniture(path=str(library), points=16, test_share=0.3).build("train")
        (problem,) = train.problems
        assert problem.startswith(f"{number}.sh3f: Test#1: ")
        assert why in problem


def test_furniture_that_is_not_there_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"run `anylatent data fetch points.furniture` \(119.8 MB, CC BY 3.0"):
        Furniture().build("train")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.sh3f: points\.furniture needs `path`, a \.sh3f or \.deb"):
        Furniture(path=str(tmp_path / "nowhere.sh3f")).build("train")
    (tmp_path / "text.deb").write_text("no archive")
    with pytest.raises(ValueError, match=r"text\.deb is no Debian package"):
        Furniture(path=str(tmp_path / "text.deb")).build("train")
    with zipfile.ZipFile(tmp_path / "other.sh3f", "w") as archive:
        archive.writestr("readme", "x")
    with pytest.raises(ValueError, match=r"has no PluginFurnitureCatalog\.properties: expected a \.sh3f of Sweet Home 3D"):
        Furniture(path=str(tmp_path / "other.sh3f")).build("train")


@pytest.mark.slow
@pytest.mark.skipif(not FETCHED.exists(), reason="the furniture was not fetched on this machine")
def test_all_pieces_are_there() -> None:
    """As many as the summary says, all readable."""
    splits = [Furniture().build(split) for split in ("train", "test")]
    assert sum(map(len, splits)) == 820
    assert not splits[0].problems
    assert len({row["category"] for split in splits for row in _rows(split)}) == 12
