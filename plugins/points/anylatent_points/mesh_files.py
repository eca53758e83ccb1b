"""Meshes and clouds in files: .ply, .obj, .stl, .glb, read with suspicion and written so that ordinary programs open them.

A written .ply is a plain vertex list in this plugin's frame, with the scale, the unit and the origin of the file as
comments, so that it reads back as it was. A .glb is a mesh, y up as glTF has it, in the same frame.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anylatent.lazy import torch
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent_points.cloud import Cloud, Mesh

SUFFIXES = (".ply", ".obj", ".stl", ".glb")
_MARK = "anylatent cloud"


def ply_bytes(cloud: "Cloud") -> bytes:
    """The points as a binary .ply, with normalisation in its comments."""
    import numpy

    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"comment {_MARK}\ncomment scale {cloud.scale!r}\ncomment unit {cloud.unit}\n"
        f"element vertex {len(cloud)}\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    return header.encode("ascii") + cloud.points.detach().cpu().numpy().astype(numpy.dtype("<f4")).tobytes()


def glb_bytes(mesh: "Mesh") -> bytes:
    """The mesh as binary glTF: y up, as that format asks."""
    import trimesh

    vertices = mesh.vertices.detach().cpu().numpy()[:, [0, 2, 1]] * [1, 1, -1]
    content: Any = trimesh.Trimesh(vertices, mesh.faces.cpu().numpy(), process=False).export(file_type="glb")
    return bytes(content)


def read_cloud(path: Path, points: int, *, even: bool = True) -> "Cloud":
    """A cloud from a file: of points (all of them), or of `points` points drawn on a mesh by the file's content.

    Errors: `ValueError` naming the file and what is wrong with it.
    """
    from anylatent.files import sha256_of
    from anylatent.random import seed_of
    from anylatent_points.surface import clouds_of

    own = _own(path)
    if own is not None:
        return own
    try:
        geometry = load(path)
        if geometry.faces is None:
            return _cloud_of(geometry.vertices)
        return clouds_of([geometry.mesh], points, [seed_of("mesh file", sha256_of(path))], even=even, unit="")[0]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


class Geometry:
    """What a file holds: vertices, and faces unless it is a bare cloud."""

    def __init__(self, vertices: Float[Tensor, "vertices 3"], faces: Any = None) -> None:
        self.vertices, self.faces = vertices, faces

    @property
    def mesh(self) -> "Mesh":
        from anylatent_points.cloud import Mesh

        return Mesh(self.vertices, self.faces)


def load(path: Path) -> Geometry:
    """The geometry of a file, all its parts together; vertices that no face uses are left out.

    A mesh may have holes and edges of three faces: only surfaces are asked of it. .obj and .glb are turned from y up to z up.
    Errors: `ValueError` says what is wrong: no mesh, empty, numbers that are not finite, faces without area.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"expected a file that ends in {', '.join(SUFFIXES)}")
    vertices, faces = arrays_of(path.read_bytes(), path.suffix.lower()[1:])
    return checked(vertices, faces, upright=path.suffix.lower() in (".obj", ".glb"))


def checked(vertices: Any, faces: Any, *, upright: bool) -> Geometry:
    """Arrays as geometry, in float32. `upright`: turn y up to z up. Errors: as `load`."""
    import numpy

    with numpy.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is told below
        vertices = numpy.asarray(vertices, dtype="float64").reshape(-1, 3).astype("float32")
    if not len(vertices):
        raise ValueError("it is empty: there is neither a face nor a point in it")
    if faces is not None:
        if faces.size and not 0 <= faces.min() <= faces.max() < len(vertices):
            raise ValueError(f"a face names a vertex that is not there: there are {len(vertices)}")
        used = numpy.unique(faces)
        vertices, faces = vertices[used], numpy.searchsorted(used, faces)
    bad = int((~numpy.isfinite(vertices)).any(1).sum())
    if bad:
        raise ValueError(f"{bad} of its {len(vertices)} vertices are not finite numbers (of 32 bits)")
    if upright:
        vertices = vertices[:, [0, 2, 1]] * numpy.array([1, -1, 1], dtype="float32")
    return Geometry(torch.tensor(vertices), None if faces is None else torch.tensor(numpy.asarray(faces), dtype=torch.int64))


def arrays_of(content: bytes, kind: str) -> tuple[Any, Any]:
    """Vertices and faces (None: a bare cloud) of a file's content, by trimesh."""
    import io
    import warnings

    import numpy
    import trimesh

    if not content:
        raise ValueError("the file is empty")
    try:
        with warnings.catch_warnings():  # what numpy thinks of a broken file is said by `checked`
            warnings.simplefilter("ignore")
            scene = trimesh.load_scene(io.BytesIO(content), file_type=kind, process=False, skip_materials=True)
            parts: list[Any] = [part for part in scene.dump() if hasattr(part, "vertices")]
    # A damaged file ends in whatever its reader raises: IndexError, struct.error, JSONDecodeError, NotImplementedError …
    except Exception as error:
        raise ValueError(f"it cannot be read as .{kind}: {error or type(error).__name__}") from error
    meshes = [part for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if meshes:
        whole: Any = trimesh.util.concatenate(meshes)
        return whole.vertices, numpy.asarray(whole.faces)
    bare = [numpy.asarray(part.vertices) for part in parts if len(part.vertices)]
    return (numpy.vstack(bare) if bare else numpy.zeros((0, 3))), None


def _cloud_of(points: Float[Tensor, "points 3"]) -> "Cloud":
    from anylatent_points.cloud import Cloud, Frame

    frame = Frame.of(points)
    return Cloud(frame.normalise(points), frame.scale)


def _own(path: Path) -> "Cloud | None":
    """A cloud that this plugin wrote, as it was; None for any other file."""
    import numpy

    from anylatent_points.cloud import Cloud

    content = path.read_bytes() if path.is_file() else b""
    head, end, body = content.partition(b"end_header\n")
    lines = head.decode("ascii", "replace").splitlines()
    if not end or f"comment {_MARK}" not in lines:
        return None
    said = dict(line.split(" ", 2)[1:] for line in lines if line.startswith(("comment scale ", "comment unit ")) and line.count(" ") > 1)
    count = next((int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("element vertex ")), 0)
    numbers = numpy.frombuffer(body[: 12 * count], dtype="<f4")
    if not count or len(numbers) != 3 * count or not numpy.isfinite(numbers).all():
        raise ValueError(f"{path} is damaged: it says {count} points, and holds {len(body)} bytes of 12 each")
    return Cloud(torch.from_numpy(numbers.reshape(-1, 3).copy()), float(said.get("scale", 1.0)), said.get("unit", ""))
