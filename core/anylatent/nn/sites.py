"""Named places in a backbone, where hooks attach."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from anylatent.condition import TokenSet
from anylatent.lazy import torch
from anylatent.types import Bool, Float, Int, Tensor

if TYPE_CHECKING:
    from anylatent.nn.backbone import Backbone


class Site(NamedTuple):
    """A place: `part` is trunk, block, attention, attend, cross or mlp; `block` counts from 0 (0 for the trunk).

    `attention` is all that attention adds to the tokens; `attend`, inside of it, is the mixing itself.
    """

    part: str
    block: int = 0


def no_blocks(whose: str, blocks: Iterable[int], depth: int) -> str | None:
    """What to say of who names blocks that a backbone of `depth` blocks has not, or None: there they would do nothing."""
    missing = sorted({block for block in blocks if not 0 <= block < depth})
    if not missing:
        return None
    there = {0: "no blocks", 1: "block 0 alone"}.get(depth, f"blocks 0 to {depth - 1}")
    return f"{whose} names block{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}: the denoiser has {there}"


def no_site(whose: str, site: Site, backbone: "Backbone") -> str | None:
    """What to say of who reads a site that a backbone has not, or None."""
    if site.part not in backbone.sites:
        names = ", ".join(sorted(backbone.sites)) or "none"
        return f"{whose} reads at a site '{site.part}': those that '{type(backbone).__name__}' names are {names}"
    return no_blocks(whose, [site.block], 1 if site.part == "trunk" else backbone.depth)


@dataclass(frozen=True)
class Context:
    """What tokens meet on their way through a backbone, besides each other.

    modulation `(B, L, K)`: the numbers of every block at each of the row's L noise levels; level `(B, N)`: which of them
    is each token's, None if L is 1. mask `(B, N)`: valid tokens, None if all are. angles: rotary turns.
    """

    modulation: Float[Tensor, "rows levels numbers"]
    level: Int[Tensor, "rows tokens"] | None
    mask: Bool[Tensor, "rows tokens"] | None
    angles: Float[Tensor, "rows tokens half 2"] | None
    cross: TokenSet | None
    positions: Float[Tensor, "rows tokens axes"] | None = None
    """Where tokens are, in steps of all streams' axes; None for a pure set."""
    who: Int[Tensor, " rows"] | None = None
    """Which rows of the batch these are; None: all, in order."""
    ahead: int = 0
    """Prepended tokens of the condition, which come first."""

    def select(self, rows: Tensor) -> "Context":
        """The context of these rows (indices or a mask)."""
        level, mask, angles, places = (x if x is None else x[rows] for x in (self.level, self.mask, self.angles, self.positions))
        who = torch.arange(self.modulation.shape[0], device=self.modulation.device) if self.who is None else self.who
        return Context(self.modulation[rows], level, mask, angles, self.cross and self.cross.select(rows), places, who[rows], self.ahead)

    def numbers(self, start: int, count: int) -> Tensor:
        """Columns of the modulation, a token: `(B, 1, count)`, or `(B, N, count)` if levels differ within a row."""
        part = self.modulation[..., start : start + count]
        if self.level is None:
            return part
        return part.gather(1, self.level[..., None].expand(-1, -1, count))

    def valid(self, x: Tensor) -> Tensor:
        """`x` with zeros in the padding."""
        return x if self.mask is None else x * self.mask[..., None].to(x.dtype)


Call = Callable[[Tensor, Context], Tensor]


class Heads(NamedTuple):
    """Queries, keys and values of an attention, `(B, H, N, D)` each: normed and turned by the tokens' places."""

    q: Float[Tensor, "rows heads queries head"]
    k: Float[Tensor, "rows heads keys head"]
    v: Float[Tensor, "rows heads keys head"]


Mix = Callable[[Heads, Context], Tensor]
"""What attention does with its heads: `(B, H, N, D)`."""


class Sites:
    """Runs the parts of a backbone. This one just runs them; hooks replace it (`anylatent.hooks`)."""

    def around(self, site: Site, call: Call, x: Float[Tensor, "rows tokens width"], context: Context) -> Tensor:
        """The output of `call(x, context)` at `site`, or something in its place."""
        return call(x, context)

    def attend(self, site: Site, mix: Mix, heads: Heads, context: Context) -> Tensor:
        """The output of `mix(heads, context)` at `site`, or something in its place."""
        return mix(heads, context)
