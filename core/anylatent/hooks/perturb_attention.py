"""Attention made worse on purpose."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from anylatent.hooks.base import Hook, Visit
from anylatent.lazy import torch
from anylatent.nn.blur import blurred
from anylatent.nn.sites import Context, Heads, Mix, Site
from anylatent.types import Float, Tensor


class PerturbAttention(Hook, kind="perturb-attention"):
    """Attention made worse on purpose, in some blocks: what perturbed guidance guides away from.

    `identity`: every token attends to itself alone, its output is its own value (PAG: Ahn et al. 2024, 2403.17377).
    `queries`: queries are blurred over the tokens' places by a Gaussian of `sigma` steps of their axes; without it
    every token asks the mean query (SEG: Hong 2024, 2408.00760). Tokens without places know only the mean.
    """

    parts: ClassVar[frozenset[str]] = frozenset({"attend"})
    neutral: ClassVar[Mapping[str, Any] | None] = {"share": 0.0}
    systems: ClassVar[tuple[str, ...]] = ("PAG (2403.17377)", "SEG (2408.00760)")

    how: Literal["identity", "queries"] = Field(default="identity", description="What attention becomes.")
    sigma: float | None = Field(default=None, gt=0, description="Of the queries' blur, in steps of the axes; none: the mean query.")
    blocks: tuple[int, ...] = Field(default=(), description="In these blocks, counted from 0; none named: in all.")
    share: float = Field(default=1.0, ge=0, le=1, description="How far it goes; 0: attention as it is, exactly.")

    @property
    def idle(self) -> bool:
        return self.share == 0

    def at(self) -> Collection[int]:
        return self.blocks

    def attend(self, site: Site, mix: Mix, heads: Heads, context: Context, visit: Visit) -> Float[Tensor, "rows heads tokens head"]:
        here = self.share > 0 and (not self.blocks or site.block in self.blocks)
        rows = visit.rows & here
        visit.count("perturbed", rows)
        if not rows.any():
            return mix(heads, context)
        if rows.all():
            return self._perturbed(mix, heads, context)
        out = torch.empty_like(heads.v)
        out[rows] = self._perturbed(mix, Heads(*(x[rows] for x in heads)), context.select(rows))
        out[~rows] = mix(Heads(*(x[~rows] for x in heads)), context.select(~rows))
        return out

    def _perturbed(self, mix: Mix, heads: Heads, context: Context) -> Tensor:
        if self.how == "queries":
            places = None if self.sigma is None else context.positions
            flat = blurred(heads.q.transpose(1, 2).flatten(2), places, context.mask, self.sigma or 1.0)
            q = flat.unflatten(2, (heads.q.shape[1], -1)).transpose(1, 2)
            return mix(heads._replace(q=heads.q + self.share * (q - heads.q)), context)
        return heads.v if self.share == 1 else mix(heads, context).lerp(heads.v, self.share)
