"""Pieces of an endless street over hills: scenes that look alike everywhere along x."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from anylatent.data import Dataset, DatasetConfig, Split

Along = Literal["village", "wood"]
USUAL = 16.0
"""Metres of the piece that `points` are counted for."""


class Street(DatasetConfig, kind="points.street"):
    """A road with lamps and cars along x, over hills; behind it houses with hedges (a village), or trees (a wood).

    A piece is cut out anywhere: a house may stand half in it. It is `length` x 8 x 8 m, centred on 0; 1 is half the diagonal
    of a piece of 16 m (9.8 m) whatever its length is. Conditions: `category`, village or wood. Points are independent, uniform by area.
    """

    summary: ClassVar[str] = "pieces of a street over hills through villages and woods; made here, no licence"

    count: int = Field(default=1500, ge=1, description="Pieces of the training split.")
    test_count: int = Field(default=150, ge=1, description="Pieces that are held out.")
    points: int = Field(default=8192, ge=1, le=1_000_000, description="Points of a piece of 16 m; of others in proportion.")
    length: float = Field(default=16.0, ge=4, le=256, description="Of a piece along x, in metres.")
    along: tuple[Along, ...] = Field(default=("village", "wood"), min_length=1, description="What pieces are of, in turn.")
    seed: int = Field(default=0, ge=0, description="Another one gives other pieces.")

    @model_validator(mode="after")
    def _some(self) -> "Street":
        if self.each() < 1:
            least = int(USUAL / 2 / self.length) + 1
            raise ValueError(f"points {self.points} of {USUAL:g} m are none of a piece of {self.length:g} m: expected {least} or more")
        return self

    def each(self) -> int:
        """Points of one piece."""
        return round(self.points * self.length / USUAL)

    def build(self, split: Split) -> Dataset:
        """Open a split: each piece is of a street of its own, and made when it is asked for."""
        from anylatent_points.street_pieces import Pieces

        return Pieces(self, split)
