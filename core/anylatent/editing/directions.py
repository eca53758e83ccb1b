"""Directions in what tokens are inside of the backbone: found in contrast or as principal components, kept as safetensors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from anylatent import files
from anylatent.denoiser import Denoiser
from anylatent.perception.features import sample_features, token_features
from anylatent.state import State
from anylatent.types import Float, Tensor


def inside(
    denoiser: Denoiser, clean: State, conditions: Sequence[Mapping[str, Any]], time: float, block: int
) -> Float[Tensor, "rows width"]:
    """The mean of each row's tokens after a block, for clean tokens noised to `time` by row seed.

    Errors: `ValueError` if there is no such block.
    """
    state = clean.to(next(denoiser.parameters()).device)
    tokens = token_features(denoiser, state, conditions, block, time)
    return sample_features(tokens, torch.cat([state[spec.name].mask for spec in denoiser.specs], 1)).cpu()


def contrast(
    denoiser: Denoiser, clean: State, one: Mapping[str, Any], other: Mapping[str, Any], times: Sequence[float], block: int
) -> Float[Tensor, " width"]:
    """The mean difference between what tokens are under one condition and under another: the same tokens, noised alike.

    As h-space directions with supervision (Haas et al. 2023, 2303.11073, sec. 4.3), paired, and averaged over `times`.
    """
    rows = len(clean)
    differences = [inside(denoiser, clean, [one] * rows, t, block) - inside(denoiser, clean, [other] * rows, t, block) for t in times]
    return torch.stack(differences).mean((0, 1))


def principal(
    denoiser: Denoiser, clean: State, conditions: Sequence[Mapping[str, Any]], time: float, block: int, count: int = 4
) -> Float[Tensor, "count width"]:
    """The directions in which rows differ most, each as long as its standard deviation, by SVD (Haas et al. 2023, 2303.11073, sec. 3.1)."""
    seen = inside(denoiser, clean, conditions, time, block).double()
    _, s, v = torch.linalg.svd(seen - seen.mean(0), full_matrices=False)
    return (v[:count] * (s[:count, None] / max(1, len(seen) - 1) ** 0.5)).float()


def save(direction: Float[Tensor, " width"], file: Path | str) -> Path:
    """Write a direction for the hook `direction`: data, no code."""
    return files.write_tensors(Path(file), {"direction": direction.contiguous()})
