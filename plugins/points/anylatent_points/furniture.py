"""The furniture of Sweet Home 3D: 820 named meshes, read from the fetched Debian package, or from a user's own library."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent.data import DatasetConfig, Source, Split
from anylatent.lazy import torch
from anylatent_points.primitives import Spacing

if TYPE_CHECKING:
    from anylatent_points.cloud import Cloud
    from anylatent_points.clouds import Clouds

_VERSION = "1"
"""Of what is kept in the cache: another one makes the clouds anew."""


class Furniture(DatasetConfig, kind="points.furniture"):
    """Clouds on the meshes of Sweet Home 3D's furniture libraries, with the names and categories of their catalogues.

    Conditions: `category` (Living room, Kitchen …), `caption` (the name), `extent`. The scale is in metres, from the size
    that the catalogue gives. Made once from the archive (a minute or two), then kept in the cache; meshes are not kept.
    """

    source: ClassVar[Source | None] = Source(
        registry="debian",
        package="sweethome3d-furniture",
        version="1.8-1",
        sha256="3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
        licence="CC BY 3.0, CC BY 3.0 US and CC0, by library",
        attribution="Sweet Home 3D furniture: Blend Swap authors, Andrew Kator & Jennifer Legaz, Reallusion, Scopia, Emmanuel Puybaret",
        megabytes=119.8,
    )
    summary: ClassVar[str] = "820 named pieces of furniture in 12 categories (Sweet Home 3D); fetched (119.8 MB), CC BY 3.0 and CC0"

    path: str = Field(default="", description="A .sh3f library or a .deb of your own instead of the fetched archive.")
    categories: tuple[str, ...] = Field(default=(), description="Only these; empty: all.")
    points: int = Field(default=1024, ge=1, le=100_000, description="Points of a cloud.")
    spacing: Spacing = Field(default="even", description="even: thinned from four times as many by farthest points; random: independent.")
    test_share: float = Field(default=0.15, gt=0, lt=1, description="How much is held out, by a hash of the name: namesakes stay together.")

    def build(self, split: Split) -> "Clouds":
        """Open a split. Errors: `FileNotFoundError` if the archive was not fetched; `ValueError` if there is no such category."""
        from anylatent_points.clouds import Clouds

        clouds, conditions, ids, problems = self._cached()
        there = sorted({row["category"] for row in conditions})
        if unknown := set(self.categories) - set(there):
            raise ValueError(f"{self.kind} has no category {sorted(unknown)}: there are {there}")
        chosen = [
            i
            for i, row in enumerate(conditions)
            if (not self.categories or row["category"] in self.categories) and self._held_out(row["caption"]) == (split == "test")
        ]
        if not chosen:
            raise ValueError(f"split '{split}' of {self.kind} is empty: choose another `test_share`, or more categories")
        return Clouds([clouds[i] for i in chosen], [conditions[i] for i in chosen], [ids[i] for i in chosen], problems)

    def _held_out(self, name: str) -> bool:
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") < self.test_share * 2**64

    def _archive(self) -> Path:
        path = Path(self.path).expanduser() if self.path else self.archive()
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}: {self.kind} needs `path`, a .sh3f or .deb, or nothing for the fetched one")
        return path

    def _cached(self) -> "tuple[list[Cloud], list[dict[str, Any]], list[str], list[str]]":
        """All clouds, with conditions, ids and problems; from the cache, if they were made before."""
        from anylatent.files import DamagedFile, cache_folder, digest_of, read_json, read_tensors, sha256_of, write_json, write_tensors
        from anylatent_points.cloud import Cloud

        archive = self._archive()
        name = digest_of(_VERSION, sha256_of(archive), str(self.points), self.spacing)
        tensors, facts = (cache_folder() / "points" / f"{name}.{suffix}" for suffix in ("safetensors", "json"))
        try:
            points, said = read_tensors(tensors)["points"], read_json(facts)
        except (FileNotFoundError, DamagedFile):
            clouds, rows, problems = self._made(archive)
            said = {"rows": rows, "scales": [cloud.scale for cloud in clouds], "problems": problems}
            points = torch.stack([cloud.points for cloud in clouds])
            write_tensors(tensors, {"points": points})
            write_json(facts, said)
        clouds = [Cloud(x.clone(), scale, "m") for x, scale in zip(points, said["scales"], strict=True)]
        return clouds, [row["conditions"] for row in said["rows"]], [row["id"] for row in said["rows"]], said["problems"]

    def _made(self, archive: Path) -> "tuple[list[Cloud], list[dict[str, Any]], list[str]]":
        from anylatent.random import seed_of
        from anylatent_points.cloud import Mesh
        from anylatent_points.clouds import extent_of
        from anylatent_points.surface import clouds_of
        from anylatent_points.sweet_home import Piece, libraries, pieces

        found: list[tuple[Piece, Mesh]] = []
        problems: list[str] = []
        for library in libraries(archive):
            for piece in pieces(library):
                try:
                    found.append((piece, piece.mesh()))
                except ValueError as error:
                    problems.append(f"{archive.name}: {piece.id}: {error}".replace("\n", " "))
        if not found:
            raise ValueError(
                f"{archive} holds no furniture that can be read ({len(problems)} tried): expected a .sh3f library, or a .deb of them"
            )
        seeds = [seed_of(self.kind, piece.id) for piece, _ in found]
        clouds = clouds_of([mesh for _, mesh in found], self.points, seeds, even=self.spacing == "even", unit="m")
        rows = [
            {"id": piece.id, "conditions": {"category": piece.category, "caption": piece.name, "extent": extent_of(cloud)}}
            for (piece, _), cloud in zip(found, clouds, strict=True)
        ]
        return clouds, rows, problems
