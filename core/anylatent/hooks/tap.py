"""Reading what tokens are at a site."""

from typing import ClassVar

from pydantic import Field

from anylatent.hooks.base import Hook, Visit
from anylatent.nn.sites import Call, Context, Site
from anylatent.types import Float, Tensor


class Tap(Hook, kind="tap"):
    """Remembers the tokens that come out of a block, row by row, and changes nothing.

    They lie in the engine's store under the name "tap" until the row is done, the newest in place of the one before.
    """

    parts: ClassVar[frozenset[str]] = frozenset({"block"})
    order: ClassVar[int] = 10
    changes: ClassVar[bool] = False

    block: int = Field(default=0, ge=0, description="Which block, from 0.")

    def around(self, site: Site, call: Call, x: Float[Tensor, "rows tokens width"], context: Context, visit: Visit) -> Tensor:
        out = call(x, context)
        if site.block == self.block:
            visit.store.write("tap", site, visit.addresses, out, context.mask, visit.rows)
            visit.count("read", visit.rows)
        return out
