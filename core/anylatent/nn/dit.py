"""The diffusion transformer: embed, blocks, readout, over named streams."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import nn

from anylatent.condition import Condition, TokenSet
from anylatent.nn import kernels
from anylatent.nn.backbone import Backbone
from anylatent.nn.layers import Embedding, Linear, Place, RMSNorm, modulate, rotary, turn, zero_init
from anylatent.nn.sites import Context, Heads, Site, Sites
from anylatent.spec import StreamSpec
from anylatent.state import State
from anylatent.types import Bool, Float, Int, Tensor


def mix(heads: Heads, context: Context) -> Float[Tensor, "rows heads queries head"]:
    """Each query's mean of the values, weighted by softmax(q k^T / sqrt(D)) over the valid keys."""
    mask = None if context.mask is None else context.mask[:, None, None]
    return kernels.attention(heads.q, heads.k, heads.v, mask)


class Attention(nn.Module):
    """The only place where tokens mix: multi-head attention with QK-norm and rotary turns, over valid keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width, "qkv")
        self.out = Linear(width, width, "out")
        self.norm_q, self.norm_k = RMSNorm(width // heads), RMSNorm(width // heads)

    def forward(
        self, x: Float[Tensor, "rows tokens width"], context: Context, sites: Sites | None = None, block: int = 0
    ) -> Float[Tensor, "rows tokens width"]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heads = Heads(turn(self.norm_q(q), context.angles), turn(self.norm_k(k), context.angles), v)
        mixed = mix(heads, context) if sites is None else sites.attend(Site("attend", block), mix, heads, context)
        return self.out(mixed.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Attention from tokens to the condition's tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = Linear(width, width, "q")
        self.kv = Linear(width, 2 * width, "kv")
        self.out = zero_init(Linear(width, width, "out"))
        self.norm_q, self.norm_k = RMSNorm(width // heads), RMSNorm(width // heads)

    def forward(self, x: Float[Tensor, "rows tokens width"], cross: TokenSet) -> Float[Tensor, "rows tokens width"]:
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(cross.values).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = kernels.attention(self.norm_q(q), self.norm_k(k), v, cross.mask[:, None, None])
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """x + gate attention(norm x), then x + cross-attention(norm x) if asked, then x + gate mlp(norm x)."""

    def __init__(self, index: int, width: int, heads: int, mlp: float, cross: bool) -> None:
        super().__init__()
        self.index, self.width = index, width
        self.attention = Attention(width, heads)
        self.cross = CrossAttention(width, heads) if cross else None
        hidden = int(mlp * width)
        self.mlp = nn.Sequential(Linear(width, hidden, "mlp_in"), nn.GELU(approximate="tanh"), Linear(hidden, width, "mlp_out"))

    def forward(self, x: Float[Tensor, "rows tokens width"], context: Context, sites: Sites) -> Float[Tensor, "rows tokens width"]:
        width = self.width

        def attend(x: Tensor, context: Context) -> Tensor:
            shift, scale, gate = context.numbers(6 * width * self.index, 3 * width).chunk(3, -1)
            return gate * self.attention(modulate(x, shift, scale), context, sites, self.index)

        def look(x: Tensor, context: Context) -> Tensor:
            assert self.cross is not None, "the backbone was built with cross-attention"
            assert context.cross is not None, "a condition in the slot cross is always there, its null at least"
            return self.cross(nn.functional.layer_norm(x, (width,)), context.cross)

        def think(x: Tensor, context: Context) -> Tensor:
            shift, scale, gate = context.numbers(6 * width * self.index + 3 * width, 3 * width).chunk(3, -1)
            return gate * self.mlp(modulate(x, shift, scale))

        x = x + sites.around(Site("attention", self.index), attend, x, context)
        if self.cross is not None:
            x = x + sites.around(Site("cross", self.index), look, x, context)
        return x + sites.around(Site("mlp", self.index), think, x, context)


class DiTNetwork(Backbone):
    """A diffusion transformer with adaLN-zero (Peebles & Xie 2022, 2212.09748) over the tokens of all streams together.

    Each stream has its own embedding and readout; tokens are told apart by a stream embedding, their coordinates (rotary,
    one share of each head per named axis) and their own noise level. Rotary turns say only how far tokens are from each
    other: where all is noise none is the first, unless `absolute` tells it. With `self_conditioning` each stream has a second
    embedding, of what was last said of its tokens.
    """

    sites = frozenset({"trunk", "block", "attention", "attend", "cross", "mlp"})

    def __init__(
        self,
        specs: tuple[StreamSpec, ...],
        *,
        depth: int,
        width: int,
        heads: int,
        mlp: float,
        cross: bool,
        absolute: bool = False,
        self_conditioning: float = 0.0,
    ) -> None:
        super().__init__(specs, width)
        self.self_conditioning = self_conditioning
        self.depth, self.heads = depth, heads
        # The union of the streams' axes; a shared name and unit is a shared coordinate, in the finest of the steps.
        self.axes: dict[tuple[str, str], float] = {}
        for axis in (axis for spec in specs for axis in spec.axes):
            self.axes[axis.name, axis.unit] = min(axis.step, self.axes.get((axis.name, axis.unit), axis.step))
        self.place = Place(len(self.axes), width) if absolute and self.axes else None
        self.embed = nn.ModuleDict({spec.name: Linear(spec.width, width, "embed") for spec in specs})
        self.stream = nn.ParameterDict({spec.name: nn.Parameter(0.02 * torch.randn(width)) for spec in specs})
        self.time = Embedding(width)
        self.modulation = zero_init(Linear(width, 6 * width * depth + 2 * width, "modulation"))
        self.blocks = nn.ModuleList(Block(index, width, heads, mlp, cross) for index in range(depth))
        self.readout = nn.ModuleDict({spec.name: zero_init(Linear(width, spec.width, "readout")) for spec in specs})
        # Last, so that all other weights begin as they would without it; without a bias, so that being told nothing is being told 0.
        told = {spec.name: zero_init(Linear(spec.width, width, "embed", bias=False)) for spec in specs} if self_conditioning else {}
        self.told = nn.ModuleDict(told)

    def modulate(self, levels: Float[Tensor, "rows levels"], vector: Float[Tensor, "rows width"]) -> Float[Tensor, "rows levels numbers"]:
        return self.modulation(nn.functional.silu(self.time(levels) + vector[:, None]))

    def tokens(
        self,
        values: Mapping[str, Tensor],
        state: State,
        modulation: Float[Tensor, "rows levels numbers"],
        level: Int[Tensor, "rows tokens"] | None,
        condition: Condition,
        sites: Sites | None = None,
    ) -> Float[Tensor, "rows tokens width"]:
        sites = sites or Sites()
        x, positions, mask = self._embed(values, state)
        ahead = 0
        if condition.prepend is not None:
            ahead = condition.prepend.mask.shape[1]
            x = torch.cat((condition.prepend.values.to(x.dtype), x), 1)
            positions = nn.functional.pad(positions, (0, 0, ahead, 0))
            mask = torch.cat((condition.prepend.mask, mask), 1)
            level = None if level is None else nn.functional.pad(level, (ahead, 0))
        context = Context(
            modulation, level, None if mask.all() else mask, rotary(positions, self.width // self.heads), condition.cross,
            positions if positions.shape[-1] else None, ahead=ahead,
        )  # fmt: skip

        def trunk(x: Tensor, context: Context) -> Tensor:
            for index, block in enumerate(self.blocks):
                x = sites.around(Site("block", index), partial(block, sites=sites), x, context)
            return x

        x = sites.around(Site("trunk"), trunk, x, context)
        shift, scale = context.numbers(6 * self.width * self.depth, 2 * self.width).chunk(2, -1)
        return modulate(x, shift, scale)[:, ahead:]

    def _embed(self, values: Mapping[str, Tensor], state: State) -> tuple[Tensor, Tensor, Bool[Tensor, "rows tokens"]]:
        tokens, positions, masks = [], [], []
        for spec in self.specs:
            stream = state[spec.name]
            x = self.embed[spec.name](values[spec.name]) + self.stream[spec.name]
            tokens.append(x + self.told[spec.name](stream.told) if self.told and stream.told is not None else x)
            columns = {(axis.name, axis.unit): stream.positions[..., i] for i, axis in enumerate(spec.axes)}
            nowhere = stream.time.new_zeros(stream.time.shape)
            ticks = [columns[axis] / step if axis in columns else nowhere for axis, step in self.axes.items()]
            positions.append(torch.stack(ticks, -1) if ticks else nowhere[..., None][..., :0])
            masks.append(stream.mask)
        x, where = torch.cat(tokens, 1), torch.cat(positions, 1)
        return x if self.place is None else x + self.place(where), where, torch.cat(masks, 1)
