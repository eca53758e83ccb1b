"""Reading what tokens are at a site."""

from collections.abc import Collection
from typing import ClassVar

from pydantic import Field

from anylatent.hooks.base import Hook, Visit
from anylatent.nn.sites import Call, Context, Heads, Mix, Site
from anylatent.types import Float, Tensor


class Tap(Hook, kind="tap"):
    """Remembers the tokens that come out of a site, row by row, and changes nothing.

    They lie in the engine's store under the name "tap" until the row is done, the newest in place of the one before: for Python, as
    a recipe has nothing to read them with. Of `attend`: what each head makes of the values, heads side by side.
    """

    order: ClassVar[int] = 10
    changes: ClassVar[bool] = False

    block: int = Field(default=0, ge=0, description="Which block, from 0.")
    part: str = Field(default="block", description="Which of its sites: block, attention, attend, cross, mlp; or the trunk.")

    @property
    def parts(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return frozenset({self.part})

    @property
    def site(self) -> Site:
        """Where it reads."""
        return Site(self.part, self.block)

    def at(self) -> Collection[int]:
        return () if self.part == "trunk" else (self.block,)

    def around(self, site: Site, call: Call, x: Float[Tensor, "rows tokens width"], context: Context, visit: Visit) -> Tensor:
        out = call(x, context)
        if site == self.site:
            self._keep(out, context, visit)
        return out

    def attend(self, site: Site, mix: Mix, heads: Heads, context: Context, visit: Visit) -> Float[Tensor, "rows heads tokens head"]:
        out = mix(heads, context)
        if site == self.site:
            self._keep(out.transpose(1, 2).flatten(2), context, visit)
        return out

    def _keep(self, x: Float[Tensor, "rows tokens width"], context: Context, visit: Visit) -> None:
        visit.store.write("tap", self.site, visit.addresses, x, context.mask, visit.rows)
        visit.count("read", visit.rows)
