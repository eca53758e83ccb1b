"""Are two samples the same? Whatever they are made of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch


def difference(a: Any, b: Any, tolerance: float = 0.0, where: str = "") -> str:
    """Where and how `a` and `b` differ, in words; empty if they do not.

    Arrays and numbers may differ by `tolerance`; containers and dataclasses are compared part by part, everything else
    with `==`.
    """
    at = where or "the value"
    if type(a) is not type(b):
        return f"{at}: a {type(a).__name__} and a {type(b).__name__}"
    if _is_array(a):
        return _arrays(torch.as_tensor(a), torch.as_tensor(b), tolerance, at)
    if isinstance(a, float):
        return "" if a == b or abs(a - b) <= tolerance or (math.isnan(a) and math.isnan(b)) else f"{at}: {a} and {b}"
    if isinstance(a, Mapping):
        if a.keys() != b.keys():
            return f"{at}: keys {sorted(a)} and {sorted(b)}"
        return _first(difference(a[key], b[key], tolerance, f"{where}[{key!r}]") for key in a)
    if isinstance(a, Sequence) and not isinstance(a, str | bytes):
        if len(a) != len(b):
            return f"{at}: {len(a)} and {len(b)} items"
        return _first(difference(x, y, tolerance, f"{where}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=True)))
    if is_dataclass(a):
        return _first(difference(getattr(a, f.name), getattr(b, f.name), tolerance, f"{where}.{f.name}") for f in fields(a) if f.compare)
    return "" if a == b else f"{at}: {a!r} and {b!r}"


def _is_array(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or hasattr(value, "__array_interface__")


def _arrays(a: torch.Tensor, b: torch.Tensor, tolerance: float, where: str) -> str:
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{where}: {a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
    if tolerance == 0 or not a.is_floating_point():
        return "" if torch.equal(a, b) else f"{where}: {int((a != b).sum())} of {a.numel()} numbers differ"
    apart = float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
    return "" if apart <= tolerance else f"{where}: {apart:.3g} apart, {tolerance:g} allowed"


def _first(texts: Any) -> str:
    return next((text for text in texts if text), "")
