"""A step along a direction in what tokens are inside of the backbone."""

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from anylatent import files
from anylatent.hooks.base import Hook, Visit
from anylatent.lazy import torch
from anylatent.nn.sites import Call, Context, Site
from anylatent.node import TimeInterval
from anylatent.types import Float, Tensor


class Direction(Hook, kind="direction"):
    """Adds `strength` times a direction to the tokens that come out of a block: a semantic edit (Kwon et al. 2022, 2210.10960, eq. 6).

    The command `direction` (`anylatent.editing.directions`) finds them, two conditions in contrast or principal components, and keeps
    them in a safetensors file: `(N, W)`, of each token of a sample, or `(W,)`, for all tokens alike. Tokens that a condition prepends
    stay as they are. A file that is written again is read again.
    """

    parts: ClassVar[frozenset[str]] = frozenset({"block"})
    order: ClassVar[int] = 5
    example: ClassVar[dict[str, str]] = {"file": "direction.safetensors"}
    neutral: ClassVar[dict[str, float]] = {"strength": 0}
    systems: ClassVar[tuple[str, ...]] = ("Asyrp (2210.10960)", "h-space directions (2303.11073)")

    file: str = Field(description="The safetensors file.")
    block: int = Field(default=0, ge=0, description="After which block, from 0.")
    strength: float = Field(default=1.0, description="How far. 0: nothing; below 0: the other way.")
    number: int = Field(default=0, ge=0, description="Which of the file's directions, from 0.")
    interval: TimeInterval = Field(default=(0.0, 1.0), description="Times t, from and to, at which it is added.")

    @property
    def idle(self) -> bool:
        return self.strength == 0

    def at(self) -> Collection[int]:
        return (self.block,)

    def refuses(self, depth: int, width: int) -> str | None:
        problem = super().refuses(depth, width)
        return problem or (f"hook '{self.kind}': {unread}" if not self.idle and (unread := self._unread(width)) else None)

    def around(self, site: Site, call: Call, x: Float[Tensor, "rows tokens width"], context: Context, visit: Visit) -> Tensor:
        out = call(x, context)
        if site.block != self.block or self.idle:
            return out
        if unread := self._unread(out.shape[2]):
            raise ValueError(unread)
        direction = _read(self.file, self.number).to(out)
        low, high = self.interval
        moved = visit.rows & (visit.time >= low) & (visit.time <= high)
        visit.count("moved", moved)
        return out + self.strength * moved[:, None, None] * self._laid_out(direction, out, context, moved)

    def _laid_out(
        self, direction: Float[Tensor, "*own width"], x: Tensor, context: Context, moved: Tensor
    ) -> Float[Tensor, "rows tokens width"]:
        """All tokens', or each token's own; 0 for prepended ones and padding."""
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if context.mask is None else context.mask.clone()
        mask[:, : context.ahead] = False
        if direction.dim() == 1:
            return mask[..., None] * direction
        counts = mask.sum(1)
        if wrong := set(counts[moved].tolist()) - {len(direction)}:
            raise ValueError(
                f"the direction in {self.file} is of {len(direction)} tokens, each its own: a sample here has {min(wrong)}; make samples "
                "of that size, or find one for all tokens alike"
            )
        return torch.where(mask[..., None], direction[(mask.cumsum(1) - 1).clamp(min=0, max=len(direction) - 1)], 0.0)

    def _unread(self, width: int) -> str | None:
        """Why its file holds no direction for tokens so wide, or None."""
        try:
            shape = tuple(_read(self.file, self.number).shape)
        except (OSError, ValueError) as error:
            return str(error)
        return (
            None
            if 1 <= len(shape) <= 2 and shape[-1] == width
            else f"the direction in {self.file} has {shape} numbers: tokens have {width} after block {self.block}"
        )


def _read(file: str, number: int) -> Tensor:
    """What is in the file now."""
    try:
        found = Path(file).stat()
    except OSError:
        return _loaded(file, number, ())  # which says what is wrong
    return _loaded(file, number, (found.st_mtime_ns, found.st_ino, found.st_size))


@lru_cache(maxsize=8)
def _loaded(file: str, number: int, written: tuple[int, ...]) -> Tensor:
    """`written`: which of the files that had this name."""
    tensors, name = files.read_tensors(Path(file)), tensor_name(number)
    if name not in tensors:
        has = ", ".join(sorted(tensors)) or "nothing"
        raise ValueError(
            f"{file} has no tensor '{name}' (it has {has}): `anylatent direction` writes one, or anylatent.editing.directions.save"
        )
    return tensors[name]


def tensor_name(number: int) -> str:
    """What a direction is called in its file."""
    return f"direction-{number}" if number else "direction"
