"""Counter-based randomness: a number is a function of (row seed, stream, step, draw, element), never of the batch.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), vectorised over rows. Padding a row
or putting it in another batch cannot change its numbers; a resumed run has no generator state to restore.
"""

import hashlib
import math

from anylatent.lazy import torch
from anylatent.types import Float, Int, Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF


def seed_of(*parts: object) -> int:
    """A 63-bit seed from anything printable: `seed_of("train", 0, 17)`. The same in every process and version."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ten rounds of Philox4x32. All arguments are int64 tensors that hold 32-bit words and broadcast together."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # 32 x 32 -> 64 bits: int64 products wrap, their bit pattern is the unsigned product's.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = ((p1 >> 32) & _LOW) ^ c1 ^ k0, p1 & _LOW, ((p0 >> 32) & _LOW) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


def _words(seeds: Int[Tensor, " rows"], stream: str, step: int | Int[Tensor, " rows"], draw: int, count: int) -> Int[Tensor, "rows count"]:
    device = seeds.device
    blocks = torch.arange(math.ceil(count / 4), device=device)[None]
    steps = torch.as_tensor(step, device=device, dtype=torch.int64).expand(seeds.shape[0])[:, None] & _LOW
    draws = torch.full_like(steps, draw & _LOW)
    streams = torch.full_like(steps, seed_of(stream) & _LOW)
    key = ((seeds & _LOW)[:, None], ((seeds >> 32) & _LOW)[:, None])
    return torch.stack(philox((blocks, steps, draws, streams), key), -1).flatten(1)[:, :count]


def uniform(
    seeds: Int[Tensor, " rows"], stream: str, step: int | Int[Tensor, " rows"], draw: int, count: int
) -> Float[Tensor, "rows count"]:
    """`count` numbers a row, uniform on the open interval (0, 1)."""
    return ((_words(seeds, stream, step, draw, count) >> 9).float() + 0.5) * 2.0**-23


def normal(
    seeds: Int[Tensor, " rows"], stream: str, step: int | Int[Tensor, " rows"], draw: int, tokens: int, width: int
) -> Float[Tensor, "rows tokens width"]:
    """Standard normal numbers `(B, N, C)` by Box-Muller. Token n of a row is the same whatever N is."""
    count = tokens * width
    words = _words(seeds, stream, step, draw, count + count % 2).unflatten(1, (-1, 2))
    # In double, then rounded: vectorised and scalar logarithms differ in the last bit of a float, and a row must not.
    precise = torch.float32 if seeds.device.type == "mps" else torch.float64
    u = (words.to(precise) + 0.5) * 2.0**-32
    radius = (-2 * u[..., 0].log()).sqrt()
    angle = 2 * math.pi * u[..., 1]
    pairs = torch.stack((radius * angle.cos(), radius * angle.sin()), -1)
    return pairs.flatten(1)[:, :count].unflatten(1, (tokens, width)).float()
