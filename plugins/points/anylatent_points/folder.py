"""A folder of the user's own meshes and clouds."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from anylatent.data import DatasetConfig, Split
from anylatent_points.mesh_files import SUFFIXES
from anylatent_points.primitives import Spacing

if TYPE_CHECKING:
    from anylatent_points.cloud import Cloud
    from anylatent_points.clouds import Clouds


class Folder(DatasetConfig, kind="points.folder"):
    """Every .ply, .obj, .stl and .glb under a folder, in the order of its path; its subfolder is its category, its name its caption.

    On a mesh, `points` are drawn by area. Of a bare cloud `points` are chosen; one with fewer is a problem, as is a file
    that cannot be read: named in the report and left out.
    """

    summary: ClassVar[str] = "your own meshes and clouds: PLY, OBJ, STL, GLB; category = subfolder, caption = file name"

    path: str = Field(description="The folder; ~ is your home. Subfolders are read too, hidden ones are not.")
    points: int = Field(default=256, ge=1, le=100_000, description="Points of a cloud.")
    spacing: Spacing = Field(default="even", description="even: thinned from four times as many by farthest points; random: independent.")
    test_share: float = Field(default=0.1, gt=0, lt=1, description="How much is held out, chosen by a hash of the file's content.")
    strict: bool = Field(default=False, description="Stop at the first unreadable file instead of counting and skipping it.")

    @property
    def root(self) -> Path:
        return Path(self.path).expanduser()

    def build(self, split: Split) -> "Clouds":
        """Open a split: conditions `caption`, `extent` and, in subfolders, `category`; ids are relative paths.

        Errors: `FileNotFoundError` if there is no such folder; `ValueError` if it has too few files that differ, if none
        can be read, or with `strict` for the first that cannot.
        """
        from anylatent_points.clouds import Clouds, extent_of

        clouds, conditions, ids, problems = [], [], [], []
        for path in self._files(split):
            try:
                cloud = self._read(path)
            except (ValueError, OSError) as error:
                if self.strict:
                    raise ValueError(str(error)) from error
                problems.append(str(error).replace("\n", " "))
                continue
            inner = path.relative_to(self.root)
            category = {} if inner.parent == Path() else {"category": inner.parent.as_posix()}
            clouds.append(cloud)
            conditions.append({"caption": path.stem.replace("_", " "), "extent": extent_of(cloud)} | category)
            ids.append(inner.as_posix())
        if not clouds:
            raise ValueError(
                f"none of the files of split '{split}' under {self.root} can be read ({len(problems)} tried); the first: {problems[0]}"
            )
        return Clouds(clouds, conditions, ids, problems)

    def _read(self, path: Path) -> "Cloud":
        """A cloud of exactly `points` points. Errors: `ValueError` naming the file."""
        from dataclasses import replace

        from anylatent_points.distances import thinned
        from anylatent_points.mesh_files import read_cloud

        cloud = read_cloud(path, self.points, even=self.spacing == "even")
        if len(cloud) < self.points:
            raise ValueError(f"{path}: it has {len(cloud)} points, {self.points} are asked for by `points`")
        return cloud if len(cloud) == self.points else replace(cloud, points=thinned([cloud.points], self.points)[0])

    def _files(self, split: Split) -> list[Path]:
        """The files of a split, sorted. Files of equal content are on one side; both sides have one at least."""
        from anylatent.files import sha256_of

        if not self.root.is_dir():
            raise FileNotFoundError(f"there is no folder {self.root}: {self.kind} needs `path`, a folder with meshes or clouds")
        files = sorted(_mesh_files(self.root), key=lambda path: path.relative_to(self.root).as_posix())
        digests = {path: sha256_of(path) for path in files}
        contents = sorted(set(digests.values()))
        if len(contents) < 2:
            raise ValueError(
                f"{self.root} holds {len(contents)} different files, expected 2 or more (one is held out): "
                f"{self.kind} reads files that end in {', '.join(SUFFIXES)}"
            )
        held_out = set(contents[: min(math.ceil(self.test_share * len(contents)), len(contents) - 1)])
        return [path for path in files if (digests[path] in held_out) == (split == "test")]


def _mesh_files(root: Path) -> list[Path]:
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(folder, name) for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return found
