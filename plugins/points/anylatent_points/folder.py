"""A folder of the user's own meshes and clouds."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from anylatent.data import Split
from anylatent.folders import FolderData
from anylatent_points.mesh_files import SUFFIXES
from anylatent_points.primitives import Spacing

if TYPE_CHECKING:
    from anylatent_points.cloud import Cloud
    from anylatent_points.clouds import Clouds


class Folder(FolderData, kind="points.folder"):
    """Every .ply, .obj, .stl and .glb under a folder, in the order of its path; its subfolder is its category, its name its caption.

    On a mesh, `points` are drawn by area. Of a bare cloud `points` are chosen; one with fewer is a problem, as is a file
    that cannot be read: named in the report and left out.
    """

    summary: ClassVar[str] = "your own meshes and clouds: PLY, OBJ, STL, GLB; category = subfolder, caption = file name"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    things: ClassVar[str] = "meshes and clouds"
    label: ClassVar[str] = "category"

    points: int = Field(default=256, ge=1, le=100_000, description="Points of a cloud.")
    spacing: Spacing = Field(default="even", description="even: thinned from four times as many by farthest points; random: independent.")

    def build(self, split: Split) -> "Clouds":
        """Open a split: conditions `caption`, `extent` and, in subfolders, `category`; ids are relative paths.

        Errors: `FileNotFoundError` if there is no such folder; `ValueError` if it has too few files that differ, if none
        can be read, or with `strict` for the first that cannot.
        """
        from anylatent_points.clouds import Clouds, extent_of

        found, problems = self.opened(split, self._read)
        known = [self.known(path) | {"extent": extent_of(cloud)} for path, cloud in found]
        return Clouds([cloud for _, cloud in found], known, [self.place(path) for path, _ in found], problems)

    def _read(self, path: Path) -> "Cloud":
        """A cloud of exactly `points` points. Errors: `ValueError` naming the file."""
        from dataclasses import replace

        from anylatent_points.distances import thinned
        from anylatent_points.mesh_files import read_cloud

        cloud = read_cloud(path, self.points, even=self.spacing == "even")
        if len(cloud) < self.points:
            raise ValueError(f"{path}: it has {len(cloud)} points, {self.points} are asked for by `points`")
        return cloud if len(cloud) == self.points else replace(cloud, points=thinned([cloud.points], self.points)[0])
