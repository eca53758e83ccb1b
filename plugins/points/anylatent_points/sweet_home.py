"""Sweet Home 3D's furniture libraries: .sh3f files, zips of OBJ meshes with a catalogue."""

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from anylatent_points.cloud import Mesh

_CATALOGUE = "PluginFurnitureCatalog.properties"
_ENTRY = re.compile(r"^(\w+)#(\d+)\s*=\s*(.*)$")


@dataclass(frozen=True)
class Piece:
    """A piece of furniture of a catalogue, with its size in cm."""

    library: zipfile.ZipFile
    id: str
    name: str
    category: str
    model: str
    size: tuple[float, float, float]
    """Width (x), depth (y), height (z) in cm; zeros where the catalogue says nothing."""

    def mesh(self) -> Mesh:
        """Its mesh in metres, z up, front to -y. Errors: `ValueError` says what is wrong with it."""
        import torch

        from anylatent_points.mesh_files import arrays_of, checked
        from anylatent_points.surface import areas

        try:
            content = self.library.read(self.model)
        except (KeyError, zipfile.BadZipFile, OSError) as error:
            raise ValueError(f"its model {self.model} cannot be read: {error}") from error
        if PurePosixPath(self.model).suffix.lower() != ".obj":
            raise ValueError(f"its model {self.model} is no .obj")
        vertices, faces = arrays_of(content, "obj")
        geometry = checked(vertices, faces, upright=True)
        if geometry.faces is None:
            raise ValueError(f"its model {self.model} has no faces")
        sides = geometry.vertices.amax(0) - geometry.vertices.amin(0)
        metres = torch.tensor(self.size) / 100
        known = (sides > 1e-9) & (metres > 0)
        scale = torch.where(known, metres / sides.clamp(min=1e-9), torch.tensor(0.01))
        mesh = Mesh(geometry.vertices * scale, geometry.faces)
        if not float(areas(mesh).sum()) > 0:
            raise ValueError(f"its model {self.model} has no surface: its faces have no area")
        return mesh


def libraries(path: Path) -> Iterator[zipfile.ZipFile]:
    """The libraries of a .sh3f, or of a .deb, in the order of their names.

    Errors: `ValueError` naming the file, if it is neither.
    """
    from anylatent.files import debian_tar

    if zipfile.is_zipfile(path):
        yield zipfile.ZipFile(path)
        return
    with debian_tar(path) as tar:
        for member in sorted((m for m in tar.getmembers() if m.isfile() and m.name.endswith(".sh3f")), key=lambda m: m.name):
            stream = tar.extractfile(member)
            assert stream is not None, "a file of the archive has content"
            yield zipfile.ZipFile(io.BytesIO(stream.read()))


def pieces(library: zipfile.ZipFile) -> Iterator[Piece]:
    """The pieces of a library, in the order of its catalogue. Errors: `ValueError` if it has none."""
    try:
        text = library.read(_CATALOGUE).decode("latin-1")
    except KeyError as error:
        raise ValueError(f"{library.filename or 'the library'} has no {_CATALOGUE}: expected a .sh3f of Sweet Home 3D") from error
    entries: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        if found := _ENTRY.match(line.strip()):
            key, number, value = found.groups()
            entries.setdefault(int(number), {})[key] = _unescaped(value.strip())
    for number in sorted(entries):
        entry = entries[number]
        if "model" in entry:
            name = entry.get("name", f"piece {number}")
            width, depth, height = (_number(entry.get(side, "")) for side in ("width", "depth", "height"))
            category, model = entry.get("category", "none"), entry["model"].lstrip("/")
            yield Piece(library, entry.get("id", name), name, category, model, (width, depth, height))


def _unescaped(value: str) -> str:
    """Java's properties write other letters as \\u00e9."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found.group(1), 16)), value).replace("\\", "")


def _number(text: str) -> float:
    try:
        return max(float(text), 0.0)
    except ValueError:
        return 0.0
