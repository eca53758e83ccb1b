"""Blocks left out."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.hooks.base import Hook, Visit
from anylatent.nn.sites import Call, Context, Site
from anylatent.types import Float, Tensor


class SkipBlocks(Hook, kind="skip-blocks"):
    """Blocks left out: their tokens pass unchanged.

    What skip-layer guidance guides away from (Stable Diffusion 3.5's sampler; spatiotemporal skip guidance: Hyung et al.
    2024, 2411.18664). A step with a block left out costs that block less.
    """

    parts: ClassVar[frozenset[str]] = frozenset({"block"})
    example: ClassVar[Mapping[str, Any]] = {"blocks": [1]}
    neutral: ClassVar[Mapping[str, Any] | None] = {"blocks": []}
    systems: ClassVar[tuple[str, ...]] = ("STG (2411.18664)",)

    blocks: tuple[int, ...] = Field(default=(), description="The blocks, counted from 0; none: nothing is left out.")

    @property
    def idle(self) -> bool:
        return not self.blocks

    def at(self) -> Collection[int]:
        return self.blocks

    def around(self, site: Site, call: Call, x: Float[Tensor, "rows tokens width"], context: Context, visit: Visit) -> Tensor:
        rows = visit.rows & (site.block in self.blocks)
        visit.count("skipped", rows)
        if not rows.any():
            return call(x, context)
        if rows.all():
            return x
        out = x.clone()
        out[~rows] = call(x[~rows], context.select(~rows))
        return out
