"""The contract of a hook, and the store that hooks remember in."""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from anylatent.lazy import torch
from anylatent.nn.sites import Call, Context, Heads, Mix, Site, Sites, no_blocks
from anylatent.node import Node
from anylatent.state import Tally
from anylatent.types import Bool, Float, Int, Tensor

Address = tuple[int, str]
"""A row's id and the name of the guidance branch: whom a remembered tensor belongs to."""


class Store:
    """Tensors of tokens by (address, site, name), without their padding; the least recently written go when over budget.

    A hook that reads what is gone gets `present` false and computes: a small budget costs speed, never correctness.
    """

    def __init__(self, budget: int = 1 << 30) -> None:
        self.budget, self.bytes, self.evicted = budget, 0, 0
        self._items: OrderedDict[tuple[Address, Site, str], Tensor] = OrderedDict()

    def read(
        self, name: str, site: Site, addresses: Sequence[Address], like: Float[Tensor, "rows tokens width"], mask: Tensor | None
    ) -> tuple[Float[Tensor, "rows tokens width"], Bool[Tensor, " rows"]]:
        """What was written under this name, laid out as `like` with its `mask`; and whether it was there, a row."""
        found = [self._items.get((address, site, name)) for address in addresses]
        present = torch.tensor([item is not None for item in found], device=like.device)
        out = torch.zeros_like(like)
        for i, item in enumerate(found):
            if item is not None:
                out[i, slice(None) if mask is None else mask[i]] = item
        return out, present

    def write(
        self,
        name: str,
        site: Site,
        addresses: Sequence[Address],
        values: Float[Tensor, "rows tokens width"],
        mask: Tensor | None,
        rows: Tensor,
    ) -> None:
        """Remember the rows where `rows` `(B,)` is true."""
        for i in rows.nonzero()[:, 0].tolist():
            key = (addresses[i], site, name)
            self._drop(key)
            item = (values[i] if mask is None else values[i, mask[i]]).detach().clone()
            self._items[key] = item
            self.bytes += item.nbytes
        while self.bytes > self.budget and self._items:
            self._drop(next(iter(self._items)))
            self.evicted += 1

    def item(self, name: str, site: Site, address: Address) -> Float[Tensor, "tokens width"] | None:
        """One row's, without padding; None if it is not there (any more)."""
        return self._items.get((address, site, name))

    def forget(self, row: int) -> None:
        """Drop all that belongs to a row."""
        for key in [key for key in self._items if key[0][0] == row]:
            self._drop(key)

    def _drop(self, key: tuple[Address, Site, str]) -> None:
        item = self._items.pop(key, None)
        self.bytes -= 0 if item is None else item.nbytes


@dataclass(frozen=True)
class Visit:
    """Who is at a site: the address of each of the B rows, its step of how many, its time; and where to remember and report."""

    addresses: Sequence[Address]
    rows: Bool[Tensor, " rows"]
    """The rows whose request, or whose branch of a guidance, has this hook; the others must come out as `call` would make them."""
    step: Int[Tensor, " rows"]
    steps: Int[Tensor, " rows"]
    time: Float[Tensor, " rows"]
    store: Store
    tally: Tally

    def select(self, who: Int[Tensor, " chosen"] | None) -> "Visit":
        """The visit of some of the rows: a hook outside may have run them apart."""
        if who is None:
            return self
        addresses = [self.addresses[i] for i in who.tolist()]
        return Visit(addresses, self.rows[who], self.step[who], self.steps[who], self.time[who], self.store, self.tally)

    def count(self, name: str, rows: Tensor, amount: float = 1) -> None:
        """Enter something in the receipt, for the rows where a mask `(B,)` is true."""
        ids = torch.tensor([address[0] for address in self.addresses])
        self.tally.add(name, ids[rows.cpu()], amount)


class Hook(Node, family="hook"):
    """Runs around the parts of a backbone that it names, or in place of an attention's mixing (`attend`).

    It is a request's, or one branch's of a guidance. Decisions are masks over rows `(B,)`, never one for the batch.
    """

    parts: ClassVar[frozenset[str]] = frozenset()
    """The parts of `Site` that it wraps; a backbone that does not name them refuses it."""
    order: ClassVar[int] = 0
    """Lower wraps outside."""
    conflicts: ClassVar[frozenset[str]] = frozenset()
    """Kinds of hook that cannot be used with it."""
    changes: ClassVar[bool] = True
    """Whether predictions are others with it; not, if it only looks and remembers."""

    @property
    def idle(self) -> bool:
        """Whether it changes nothing, as it is set."""
        return not self.changes

    @property
    def takes_from(self) -> str:
        """The branch from which it takes something for the others; empty: none."""
        return ""

    def at(self) -> Collection[int]:
        """The blocks that it names, counted from 0; a backbone without one of them refuses it."""
        return ()

    def refuses(self, depth: int, width: int) -> str | None:
        """Why it cannot run in a backbone of `depth` blocks and tokens `width` wide, or None."""
        return no_blocks(f"hook '{self.kind}'", self.at(), depth)

    def around(self, site: Site, call: Call, x: Float[Tensor, "rows tokens width"], context: Context, visit: Visit) -> Tensor:
        """The output at this site. `call(x[rows], context.select(rows))` computes it for some of the rows."""
        raise NotImplementedError

    def attend(self, site: Site, mix: Mix, heads: Heads, context: Context, visit: Visit) -> Tensor:
        """The output `(B, H, N, D)` at a site `attend`, for hooks that name this part. `mix(heads, context)` computes it."""
        raise NotImplementedError


@dataclass
class HookedSites(Sites):
    """Sites with hooks, outermost first."""

    visits: list[tuple[Hook, Visit]] = field(default_factory=list)

    def around(self, site: Site, call: Call, x: Float[Tensor, "rows tokens width"], context: Context) -> Tensor:
        for hook, visit in reversed(self.visits):
            if site.part in hook.parts:
                call = _wrapped(hook, visit, site, call)
        return call(x, context)

    def attend(self, site: Site, mix: Mix, heads: Heads, context: Context) -> Tensor:
        for hook, visit in reversed(self.visits):
            if site.part in hook.parts:
                mix = _mixing(hook, visit, site, mix)
        return mix(heads, context)


def _mixing(hook: Hook, visit: Visit, site: Site, mix: Mix) -> Mix:
    def run(heads: Heads, context: Context) -> Tensor:
        return hook.attend(site, mix, heads, context, visit.select(context.who))

    return run


def _wrapped(hook: Hook, visit: Visit, site: Site, call: Call) -> Call:
    def run(x: Tensor, context: Context) -> Tensor:
        return hook.around(site, call, x, context, visit.select(context.who))

    return run
