"""Directions in what tokens are inside of the backbone: found in contrast or as principal components, kept as safetensors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from anylatent import files
from anylatent.denoiser import Denoiser
from anylatent.nn.sites import Call, Context, Site, Sites
from anylatent.state import State
from anylatent.types import Float, Tensor


class _Looking(Sites):
    """Keeps what comes out of a block, and which tokens are there."""

    def __init__(self, block: int) -> None:
        self.block = block
        self.seen: Tensor | None = None

    def around(self, site: Site, call: Call, x: Float[Tensor, "rows tokens width"], context: Context) -> Tensor:
        out = call(x, context)
        if site == Site("block", self.block):
            weight = torch.ones_like(out[..., :1]) if context.mask is None else context.mask[..., None].to(out.dtype)
            self.seen = (out * weight).sum(1) / weight.sum(1)
        return out


@torch.no_grad()
def inside(
    denoiser: Denoiser, clean: State, conditions: Sequence[Mapping[str, Any]], time: float, block: int
) -> Float[Tensor, "rows width"]:
    """The mean of each row's tokens after a block, for clean tokens noised to `time` by row seed.

    Errors: `ValueError` if there is no such block.
    """
    device = next(denoiser.parameters()).device
    state = clean.to(device)
    for spec in denoiser.specs:
        if spec.given:
            continue
        path, stream = denoiser.path(spec.name), state[spec.name]
        noise = path.prior(spec, state.noise(spec.name, 0, 0, "directions"), stream.mask)
        state = state.with_values({spec.name: path.corrupt(stream.values, noise, torch.full_like(stream.time, time)[..., None])})
        state = state.with_time({spec.name: torch.full_like(stream.time, time)})
    looking = _Looking(block)
    denoiser(state, denoiser.conditions(list(conditions), device), looking)
    if looking.seen is None:
        raise ValueError(f"there is no block {block} to look at: this backbone has {getattr(denoiser.backbone, 'depth', 'no')} blocks")
    return looking.seen.cpu()


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
