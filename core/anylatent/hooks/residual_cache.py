"""A cache of the trunk's residual, decided row by row."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.hooks.base import Hook, Visit
from anylatent.lazy import torch
from anylatent.nn.sites import Call, Context, Site
from anylatent.types import Float, Tensor


class ResidualCache(Hook, kind="residual-cache"):
    """Reuses what all blocks added to the tokens, while a row's tokens have moved little since that was computed.

    A row's change is the mean over its valid tokens of |x - x'| / |x'|, x' being its tokens at the step before; it adds up
    until `threshold` (as in TeaCache, Liu et al. 2024, 2411.19108, eq. 5). Reused residuals are extrapolated in time from
    the last two computed ones (`forecast`, as TaylorSeer of order 1, Liu et al. 2025, 2503.06923), else held.
    """

    parts: ClassVar[frozenset[str]] = frozenset({"trunk"})

    example: ClassVar[Mapping[str, Any]] = {"threshold": 5.0}
    neutral: ClassVar[Mapping[str, Any] | None] = {"threshold": 0.0}
    systems: ClassVar[tuple[str, ...]] = ("TeaCache (2411.19108)", "TaylorSeer (2503.06923)")

    threshold: float = Field(
        0.1, ge=0, description="Relative change that a row may add up before it is computed; 0: always computed, exactly."
    )
    forecast: bool = Field(default=True, description="Extrapolate reused residuals linearly in time.")
    first: int = Field(default=2, ge=0, description="Steps computed at a row's beginning.")
    last: int = Field(default=1, ge=0, description="Steps computed at a row's end.")

    @property
    def idle(self) -> bool:
        return self.threshold == 0

    def around(self, site: Site, call: Call, x: Float[Tensor, "rows tokens width"], context: Context, visit: Visit) -> Tensor:
        who, mask, store = visit.addresses, context.mask, visit.store
        before, known = store.read("tokens", site, who, x, mask)
        facts, _ = store.read("facts", site, who, x.new_zeros(len(who), 1, 4), None)
        moved, newest, older, both = facts[:, 0].unbind(1)
        moved = moved + self._change(x, before, context)
        inner = (visit.step >= self.first) & (visit.step < visit.steps - self.last)
        reuse = visit.rows & known & inner & (moved < self.threshold)
        residual, kept = store.read("residual", site, who, x, mask)
        earlier, _ = store.read("earlier", site, who, x, mask)
        reuse &= kept
        visit.count("reused", reuse)
        visit.count("computed", visit.rows & ~reuse)
        if not reuse.any():
            out = call(x, context)
            added = out - x
        else:
            ahead = (
                torch.where(both > 0, (visit.time - newest) / (newest - older).where(newest != older, 1.0), 0.0)
                if self.forecast
                else 0.0 * moved
            )
            added = residual + ahead[:, None, None] * (residual - earlier)
            if not reuse.all():
                added[~reuse] = call(x[~reuse], context.select(~reuse)) - x[~reuse]
            out = x + added
        fresh = visit.rows & ~reuse
        store.write("earlier", site, who, residual, mask, fresh & kept)
        store.write("residual", site, who, added, mask, fresh)
        store.write("tokens", site, who, x, mask, visit.rows)
        facts = torch.where(
            fresh[:, None],
            torch.stack((torch.zeros_like(moved), visit.time, newest, kept.float()), 1),
            torch.stack((moved, newest, older, both), 1),
        )
        store.write("facts", site, who, facts[:, None], None, visit.rows)
        return out

    def _change(self, x: Tensor, before: Tensor, context: Context) -> Float[Tensor, " rows"]:
        difference, size = context.valid(x - before).abs().sum((1, 2)), context.valid(before).abs().sum((1, 2))
        return difference / size.clamp(min=1e-12)
