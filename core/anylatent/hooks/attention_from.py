"""Attention to another branch's tokens."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from anylatent.hooks.base import Hook, Visit
from anylatent.lazy import torch
from anylatent.nn.sites import Context, Heads, Mix, Site, no_blocks
from anylatent.node import TimeInterval
from anylatent.types import Float, Tensor


class AttentionFrom(Hook, kind="attention-from"):
    """Attention takes keys and values, or queries and keys, from the same tokens in the branch `source`, where that has been.

    Keys and values: what is made is put together of the source's parts (MasaCtrl: Cao et al. 2023, 2304.08465, eq. 4). Queries and
    keys: it is laid out as the source is (Plug-and-Play: Tumanyan et al. 2022, 2211.12572, sec. 4; for condition tokens
    Prompt-to-Prompt, 2208.01626). The branch itself, and rows without one, attend as ever.
    """

    parts: ClassVar[frozenset[str]] = frozenset({"attend"})
    example: ClassVar[Mapping[str, Any]] = {"source": "null"}
    neutral: ClassVar[Mapping[str, Any] | None] = {"first": 1001}
    systems: ClassVar[tuple[str, ...]] = ("MasaCtrl (2304.08465)", "Prompt-to-Prompt (2208.01626)", "Plug-and-Play (2211.12572)")

    take: Literal["keys-values", "queries-keys"] = Field(default="keys-values", description="What comes from the source.")
    source: str = Field(default="source", description="The branch that it comes from: of `translate`, or of a guidance (null, say).")
    first: int = Field(default=0, ge=0, description="The first block; the one after the last there is, or any after `last`: in none.")
    last: int = Field(default=1000, ge=0, description="The last block in which it is taken.")
    interval: TimeInterval = Field(default=(0.0, 1.0), description="Times t, from and to, at which it is taken.")

    @property
    def idle(self) -> bool:
        return self.first > self.last

    @property
    def takes_from(self) -> str:
        return "" if self.idle else self.source

    def refuses(self, depth: int, width: int) -> str | None:
        """To begin after the last block, or after `last`, is to take nothing, and says so."""
        return None if self.first == depth or self.idle else no_blocks(f"hook '{self.kind}'", (self.first,), depth)

    def attend(self, site: Site, mix: Mix, heads: Heads, context: Context, visit: Visit) -> Float[Tensor, "rows heads queries head"]:
        if not self.first <= site.block <= self.last:
            return mix(heads, context)
        first, second = (heads.k, heads.v) if self.take == "keys-values" else (heads.q, heads.k)
        own = torch.cat((first, second), -1)
        flat = own.transpose(1, 2).flatten(2)
        of_source = torch.tensor([branch == self.source for _, branch in visit.addresses], device=flat.device)
        visit.store.write("heads", site, visit.addresses, flat, context.mask, of_source & visit.rows)
        visit.count("kept", of_source & visit.rows)
        theirs, there = visit.store.read("heads", site, [(row, self.source) for row, _ in visit.addresses], flat, context.mask)
        low, high = self.interval
        taken = there & visit.rows & ~of_source & (visit.time >= low) & (visit.time <= high)
        visit.count("taken", taken)
        if not taken.any():
            return mix(heads, context)
        chosen = torch.where(taken[:, None, None, None], theirs.unflatten(2, (own.shape[1], -1)).transpose(1, 2), own)
        one, other = chosen.chunk(2, -1)
        return mix(Heads(heads.q, one, other) if self.take == "keys-values" else Heads(one, other, heads.v), context)
