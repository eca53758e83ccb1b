"""A plain transformer over masked tokens with coordinates, for encoders and decoders."""

import torch
from torch import nn

from anylatent.nn.dit import Attention
from anylatent.nn.layers import Linear, rotary
from anylatent.nn.sites import Context
from anylatent.types import Bool, Float, Tensor


class Transformer(nn.Module):
    """Pre-norm blocks: x + attention(norm x), x + mlp(norm x). Padding and order do not matter, but for coordinates."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(depth))
        self.mlp = nn.ModuleList(
            nn.Sequential(Linear(width, 4 * width, "mlp_in"), nn.GELU(approximate="tanh"), Linear(4 * width, width, "mlp_out"))
            for _ in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth))

    def forward(
        self, x: Float[Tensor, "rows tokens width"], positions: Float[Tensor, "rows tokens axes"], mask: Bool[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows tokens width"]:
        """`positions` in steps of their axes (none: a pure set); `mask`: valid tokens."""
        nothing = x.new_zeros(x.shape[0], 1, 0)
        context = Context(nothing, None, None if mask.all() else mask, rotary(positions, self.width // self.heads), None)
        for i, (attention, mlp) in enumerate(zip(self.attention, self.mlp, strict=True)):
            x = x + attention(self.norms[2 * i](x), context)
            x = x + mlp(self.norms[2 * i + 1](x))
        return x


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, var) || N(0, 1)) of each element (Kingma & Welling 2013, 1312.6114, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def bounded_log_variance(raw: Tensor) -> Tensor:
    """A log-variance between -12 and 4, whatever the network says."""
    return torch.tanh(raw / 8) * 8 - 4
