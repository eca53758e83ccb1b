"""The one place that chooses how matrix products and attention are computed.

Which kernel is fastest depends on the processor (oneDNN's packed product is over twice as fast as MKL's on some CPUs and
no faster on others), so the choice is measured once a process, on first use without gradients, and can be fixed with
`ANYLATENT_KERNELS=torch` or `ANYLATENT_KERNELS=onednn`.
"""

import os
import time
from functools import cache

import torch
from torch.nn import functional as F
from torch.utils.weak import WeakTensorKeyDictionary

from anylatent.types import Bool, Float, Tensor

_GAIN = 1.5
"""A kernel must be this much faster than torch's own to be chosen: results then do not flicker between near-equals."""
_ROWS = 256
"""Below this many rows a product is bound by its call, and torch's own is used."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b over the last axis."""
    packable = not torch.is_grad_enabled() and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if packable and x.numel() >= _ROWS * x.shape[-1] and linear_kernel() == "onednn":
        return _packed_linear(x, weight, bias)
    return F.linear(x, weight, bias)


def attention(
    q: Float[Tensor, "rows heads queries head"],
    k: Float[Tensor, "rows heads keys head"],
    v: Float[Tensor, "rows heads keys head"],
    mask: Bool[Tensor, "rows #heads #queries keys"] | None,
) -> Float[Tensor, "rows heads queries head"]:
    """softmax(q k^T / sqrt(head)) v over the keys where `mask` is true."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@cache
def linear_kernel() -> str:
    """The kernel for large float32 products on this CPU: `torch` or `onednn`."""
    asked = os.environ.get("ANYLATENT_KERNELS", "auto")
    if asked not in ("auto", "torch", "onednn"):
        raise ValueError(f"ANYLATENT_KERNELS is '{asked}': expected auto, torch or onednn")
    if asked != "auto":
        return asked
    try:
        return "onednn" if _measured_gain() >= _GAIN else "torch"
    except (RuntimeError, AttributeError):  # the operators are private: absent or different in another torch
        return "torch"


def _measured_gain() -> float:
    """How much faster the packed product is: the best of interleaved rounds, in processor time, which others' work hardly moves."""
    x, weight = torch.randn(1024, 384), torch.randn(1536, 384)
    plain, packed = [], []
    with torch.no_grad():
        for _ in range(12):
            for times, run in ((plain, lambda: F.linear(x, weight)), (packed, lambda: _packed_linear(x, weight, None))):
                start = time.process_time()
                run()
                times.append(time.process_time() - start)
    return min(plain) / min(packed)


_packs = WeakTensorKeyDictionary()


def _packed_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    known = _packs.get(weight)
    pack = known[1] if known and known[0] == weight._version else torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    _packs[weight] = (weight._version, pack)
    return torch.ops.mkldnn._linear_pointwise(x, pack, bias, "none", [], "")
