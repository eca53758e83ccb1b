"""Point clouds: how they are read, shown and told apart."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from anylatent.files import write_bytes
from anylatent.modality import Modality
from anylatent_points.mesh_files import SUFFIXES

if TYPE_CHECKING:
    from anylatent_points.cloud import Cloud

_SHOWN = 100
_READ_POINTS = 256
"""Points of a user's mesh, for a data set that does not say how many its clouds have."""


class Points(Modality, kind="points"):
    """Point clouds on surfaces, with their meshes where these are known."""

    sample: ClassVar[str] = "Cloud: float32 points (n, 3), z up, its box centred with half a diagonal of 1; scale, unit, mesh where known"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def sheet(self, samples: "Sequence[Cloud]", captions: Sequence[str] = ()) -> bytes:
        """A PNG grid of the clouds (of their meshes, where they have one), each from two sides."""
        from anylatent_points.sheet import draw_sheet

        return draw_sheet(samples, captions)

    def write(self, samples: "Sequence[Cloud]", folder: Path) -> list[Path]:
        """`0000.ply` … (the points), `0000.glb` … where there is a mesh, and `sheet.png` with the first hundred."""
        from anylatent_points.mesh_files import glb_bytes, ply_bytes

        digits, written = max(4, len(str(len(samples) - 1))), []
        for index, sample in enumerate(samples):
            written.append(write_bytes(folder / f"{index:0{digits}d}.ply", ply_bytes(sample)))
            if sample.mesh is not None:
                written.append(write_bytes(folder / f"{index:0{digits}d}.glb", glb_bytes(sample.mesh)))
        return [*written, write_bytes(folder / "sheet.png", self.sheet(samples[:_SHOWN]))]

    def read(self, path: Path) -> "Cloud":
        """A cloud from a user's file: points as they are (.ply), or drawn on a mesh as this run's data set draws them.

        Errors: `ValueError` naming the file, if there is neither in it.
        """
        from anylatent_points.mesh_files import read_cloud

        return read_cloud(path, getattr(self.data, "points", _READ_POINTS))

    def identity(self, sample: "Cloud") -> str:
        """A hash of the points, sorted and rounded to 1/10,000 of half the box's diagonal: the order is not part of it."""
        rounded = (sample.points.detach().cpu() * 10_000).round().long()
        rows = sorted(map(tuple, rounded.tolist()))
        return hashlib.sha256(str(rows).encode()).hexdigest()
