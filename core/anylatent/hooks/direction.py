"""A step along a direction in what tokens are inside of the backbone."""

from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from anylatent import files
from anylatent.hooks.base import Hook, Visit
from anylatent.nn.sites import Call, Context, Site
from anylatent.node import TimeInterval
from anylatent.types import Float, Tensor


class Direction(Hook, kind="direction"):
    """Adds `strength` times a direction to the tokens that come out of a block: a semantic edit (Kwon et al. 2022, 2210.10960, eq. 6).

    Directions are found by `anylatent.editing.directions` (two conditions in contrast, or principal components) and kept in a
    safetensors file, as the tensor "direction" `(W,)`.
    """

    parts: ClassVar[frozenset[str]] = frozenset({"block"})
    order: ClassVar[int] = 5
    neutral: ClassVar[dict[str, float]] = {"strength": 0}
    systems: ClassVar[tuple[str, ...]] = ("Asyrp (2210.10960)", "h-space directions (2303.11073)")

    file: str = Field(description="The safetensors file.")
    block: int = Field(default=0, ge=0, description="After which block, from 0.")
    strength: float = Field(default=1.0, description="How far. 0: nothing; below 0: the other way.")
    interval: TimeInterval = Field(default=(0.0, 1.0), description="Times t, from and to, at which it is added.")

    def around(self, site: Site, call: Call, x: Float[Tensor, "rows tokens width"], context: Context, visit: Visit) -> Tensor:
        out = call(x, context)
        if site.block != self.block or self.strength == 0:
            return out
        direction = _read(self.file).to(out)
        if direction.shape != out.shape[2:]:
            raise ValueError(
                f"the direction in {self.file} has {tuple(direction.shape)} numbers: tokens have {out.shape[2]} after block {self.block}"
            )
        low, high = self.interval
        moved = visit.rows & (visit.time >= low) & (visit.time <= high)
        visit.count("moved", moved)
        return out + self.strength * moved[:, None, None] * direction


@lru_cache(maxsize=8)
def _read(file: str) -> Tensor:
    tensors = files.read_tensors(Path(file))
    if "direction" not in tensors:
        raise ValueError(f"{file} has no tensor 'direction': write one with anylatent.editing.directions.save")
    return tensors["direction"]
