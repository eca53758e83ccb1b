"""Objects of a few categories with random proportions: always there, as many as are asked for."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from anylatent.data import DatasetConfig, Split
from anylatent.lazy import torch

if TYPE_CHECKING:
    from anylatent_points.cloud import Mesh
    from anylatent_points.clouds import Clouds

Category = Literal[
    "chair", "table", "lamp", "mug", "car", "plane", "bottle", "house", "box", "cylinder", "cone", "torus", "capsule", "sphere", "angle"
]
Spacing = Literal["even", "random"]


class Primitives(DatasetConfig, kind="points.primitives"):
    """Objects put together from closed solids, as many of each category; points are drawn on their surfaces by area.

    Conditions: `category`; `extent` (width, depth, height); `caption` (“a tall lamp”). Each carries its mesh.
    """

    summary: ClassVar[str] = (
        "objects of 15 categories (chair, table, lamp, mug, car, plane …) with random proportions; made here, no licence"
    )

    categories: tuple[Category, ...] = Field(("chair", "table", "lamp", "mug", "car", "plane"), min_length=1)
    count: int = Field(default=1200, ge=1, description="Objects of the training split.")
    test_count: int = Field(default=300, ge=1, description="Objects that are held out.")
    points: int = Field(default=256, ge=1, le=100_000, description="Points of a cloud.")
    spacing: Spacing = Field(default="even", description="even: thinned from four times as many by farthest points; random: independent.")
    seed: int = Field(default=0, ge=0, description="Another one gives other objects.")

    @field_validator("categories")
    @classmethod
    def _once(cls, categories: tuple[Category, ...]) -> tuple[Category, ...]:
        if len(set(categories)) < len(categories):
            raise ValueError(f"a category is named twice in {list(categories)}: once is enough")
        return categories

    def build(self, split: Split) -> "Clouds":
        """Open a split: of K categories, each K objects in a row are one of each, in an order of their own."""
        from anylatent_points.clouds import Clouds, extent_of
        from anylatent_points.surface import clouds_of

        named = self._named(split, self.count if split == "train" else self.test_count)
        meshes = [self._mesh(split, category, number) for category, number in named]
        seeds = [self._seed(split, *each, "points") for each in named]
        clouds = clouds_of(meshes, self.points, seeds, even=self.spacing == "even", unit="m")
        conditions = [
            {"category": category, "extent": extent_of(cloud), "caption": _caption(category, extent_of(cloud))}
            for (category, _), cloud in zip(named, clouds, strict=True)
        ]
        return Clouds(clouds, conditions, [f"{category} {split} {number}" for category, number in named])

    def _named(self, split: Split, count: int) -> list[tuple[Category, int]]:
        """Category and number of each object. Not simply in turn: whoever takes every sixth would find one category."""
        from anylatent.random import seed_of, uniform

        found, number = [], 0
        while len(found) < count:
            seed = torch.tensor([seed_of(self.kind, self.seed, split, "order", number)])
            order = uniform(seed, "order", 0, 0, len(self.categories))[0].argsort().tolist()
            found += [(self.categories[place], number) for place in order]
            number += 1
        return found[:count]

    def _seed(self, split: Split, category: Category, number: int, what: str) -> int:
        from anylatent.random import seed_of

        return seed_of(self.kind, self.seed, split, category, number, what)

    def _mesh(self, split: Split, category: Category, number: int) -> "Mesh":
        import trimesh

        from anylatent.random import uniform
        from anylatent_points.cloud import Mesh
        from anylatent_points.objects import CATEGORIES, NUMBERS, Dice

        numbers = uniform(torch.tensor([self._seed(split, category, number, "proportions")]), "proportions", 0, 0, NUMBERS)[0].tolist()
        whole: Any = trimesh.util.concatenate(CATEGORIES[category](Dice(iter(numbers))))
        return Mesh(torch.tensor(whole.vertices, dtype=torch.float32), torch.tensor(whole.faces, dtype=torch.int64))


def _caption(category: str, extent: list[float]) -> str:
    """`a tall lamp`: with the word for what is most unusual of its box, if anything is."""
    width, depth, height = extent
    flat = max(width, depth)
    word = "tall " if height > 1.3 * flat else "low " if height < 0.6 * flat else ""
    return f"{'an' if category == 'angle' and not word else 'a'} {word}{category}"
