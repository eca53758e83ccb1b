"""How much attention each token gets."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.hooks.base import Hook, Visit
from anylatent.nn.sites import Context, Heads, Mix, Site
from anylatent.types import Float, Tensor


class AttentionReceived(Hook, kind="attention-received"):
    """How much attention each token gets in a block, from all tokens of its row; it changes nothing.

    The mean over heads of softmax(q k^T / sqrt(D)), summed over the queries, `(B, N, 1)`: 1 in the mean over a row's tokens
    (the map of SAG: Hong et al. 2022, 2210.00939). In the engine's store under the name "received".
    """

    parts: ClassVar[frozenset[str]] = frozenset({"attend"})
    order: ClassVar[int] = 10
    neutral: ClassVar[Mapping[str, Any] | None] = {}
    changes: ClassVar[bool] = False
    conflicts: ClassVar[frozenset[str]] = frozenset({"perturb-attention"})

    block: int = Field(default=0, ge=0, description="Which block, from 0.")

    def at(self) -> Collection[int]:
        return (self.block,)

    def attend(self, site: Site, mix: Mix, heads: Heads, context: Context, visit: Visit) -> Float[Tensor, "rows heads tokens head"]:
        if site.block == self.block and visit.rows.any():
            logits = heads.q @ heads.k.transpose(-1, -2) / heads.q.shape[-1] ** 0.5
            if context.mask is not None:
                logits = logits.masked_fill(~context.mask[:, None, None], float("-inf"))
            received = context.valid(logits.softmax(-1).mean(1)).sum(1)
            visit.store.write("received", site, visit.addresses, received[..., None], context.mask, visit.rows)
            visit.count("read", visit.rows)
        return mix(heads, context)
