"""From one prior to another."""

from anylatent.lazy import torch
from anylatent.types import Float, Tensor


def slerp(one: Float[Tensor, "tokens width"], other: Float[Tensor, "tokens width"], count: int) -> Float[Tensor, "count tokens width"]:
    """`count` points from one to the other, at equal angles: between normal numbers the lengths stay those of normal numbers.

    Shoemake 1985, "Animating rotation with quaternion curves". Where they point the same way, on the straight line.
    """
    share = torch.linspace(0, 1, count, dtype=one.dtype, device=one.device)[:, None, None]
    cosine = (one * other).sum() / (one.norm() * other.norm()).clamp(min=1e-12)
    angle = cosine.clamp(-1, 1).acos()
    if angle.sin() < 1e-4:
        return one + share * (other - one)
    return (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / angle.sin()
