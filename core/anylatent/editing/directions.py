"""Directions in what tokens are inside of the backbone: found in contrast or as principal components, kept as safetensors.

A direction is of each token `(N, W)`, which says where in a sample something changes, or one for all tokens alike `(W,)`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from anylatent import files
from anylatent.denoiser import Denoiser
from anylatent.hooks.direction import tensor_name
from anylatent.metrics.base import Measure
from anylatent.metrics.intervals import bootstrap, wilson
from anylatent.perception.features import sample_features, token_features
from anylatent.state import State
from anylatent.types import Float, Tensor


def inside(
    denoiser: Denoiser, clean: State, conditions: Sequence[Mapping[str, Any]], time: float, block: int, each: bool = False
) -> Float[Tensor, "rows *tokens width"]:
    """What tokens are after a block, clean ones noised to `time` by row seed: their mean a row `(B, W)`, or `each` `(B, N, W)`.

    Errors: `ValueError` if there is no such block; for each token, if not all rows have the same tokens.
    """
    state = clean.to(next(denoiser.parameters()).device)
    mask = torch.cat([state[spec.name].mask for spec in denoiser.specs], 1)
    if each and not same_tokens(state):
        counts = mask.sum(1)
        raise ValueError(
            f"a direction of each token needs samples with the same tokens: these have {int(counts.min())} to {int(counts.max())}; find "
            "one for all tokens alike"
        )
    tokens = token_features(denoiser, state, conditions, block, time)
    return (tokens[:, mask[0]] if each else sample_features(tokens, mask)).cpu()


def same_tokens(state: State) -> bool:
    """Whether all rows have the same tokens, so that each can have a direction of its own."""
    return all(bool((stream.mask == stream.mask[:1]).all()) for stream in state.streams.values())


def contrast(
    denoiser: Denoiser,
    clean: State,
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    times: Sequence[float],
    block: int,
    each: bool = False,
) -> Float[Tensor, "*tokens width"]:
    """The mean difference between what tokens are under one condition and under another: the same tokens, noised alike.

    As h-space directions with supervision (Haas et al. 2023, 2303.11073, sec. 4.3), paired, and averaged over `times`.
    """
    first, second = (torch.stack([inside(denoiser, clean, [asked] * len(clean), t, block, each) for t in times]) for asked in (one, other))
    return (first - second).mean((0, 1))


def told_apart(
    denoiser: Denoiser,
    clean: State,
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    times: Sequence[float],
    block: int,
    direction: Float[Tensor, "*tokens width"],
) -> Measure:
    """The share of rows whose place along a direction tells which of two conditions they are asked: rows that it was not found in.

    Every second row is asked the other. Places are means over `times`, and the border lies in the middle between the means of
    both. One measure, with Wilson's interval.
    """
    asked = [one, other] * (len(clean) // 2 + 1)
    seen = torch.stack([inside(denoiser, clean, asked[: len(clean)], t, block, direction.dim() == 2).flatten(1) for t in times])
    places = seen.mean(0) @ direction.flatten()
    border = (places[::2].mean() + places[1::2].mean()) / 2
    right = int((places[::2] > border).sum() + (places[1::2] < border).sum())
    low, high = wilson(right, len(clean))
    return Measure("told apart", right / len(clean), low, high, len(clean), "higher")


def principal(
    denoiser: Denoiser, clean: State, conditions: Sequence[Mapping[str, Any]], time: float, block: int, count: int = 4, each: bool = False
) -> Float[Tensor, "count *tokens width"]:
    """The directions in which rows differ most, each as long as its standard deviation, by SVD (Haas et al. 2023, 2303.11073, sec. 3.1).

    Of either sign that one is taken whose largest number is above 0. Errors: `ValueError` if rows differ in fewer directions: B of them
    in B - 1 at most.
    """
    seen = inside(denoiser, clean, conditions, time, block, each)
    flat = seen.flatten(1).double()
    _, s, v = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    there = int((s > s.max() * max(flat.shape) * torch.finfo(seen.dtype).eps).sum())  # others are rounding errors
    if count > there:
        raise ValueError(f"{len(flat)} samples differ in {there} directions, asked for {count}: take more samples, or ask for fewer")
    v = v * v.gather(1, v.abs().argmax(1, keepdim=True)).sign()
    found = v[:count] * (s[:count, None] / max(1, len(flat) - 1) ** 0.5)
    return found.float().unflatten(1, seen.shape[1:])


def explained(
    denoiser: Denoiser,
    clean: State,
    conditions: Sequence[Mapping[str, Any]],
    time: float,
    block: int,
    found: Float[Tensor, "count *tokens width"],
) -> list[Measure]:
    """Which share of the variance of rows lies along each direction: a measure each, with an interval (bootstrap over rows)."""
    seen = inside(denoiser, clean, conditions, time, block, found.dim() == 3).flatten(1).double()
    units = torch.nn.functional.normalize(found.flatten(1).double(), dim=1)
    parts, total = (seen @ units.T - (seen @ units.T).mean(0)).square(), (seen - seen.mean(0)).square().sum(1)
    measures = []
    for number, part in enumerate(parts.T):
        value = _share(part, total)
        below, above = bootstrap(_together, (torch.stack((part, total), 1),), number)
        measures.append(Measure(f"variance along {number}", value, max(0.0, value - below), min(1.0, value + above), len(seen), "higher"))
    return measures


def _share(part: Tensor, total: Tensor) -> float:
    return float(part.sum() / total.sum().clamp(min=1e-12))


def _together(rows: Float[Tensor, "rows 2"]) -> float:
    return _share(rows[:, 0], rows[:, 1])


def save(directions: Float[Tensor, " width"] | Sequence[Tensor], file: Path | str) -> Path:
    """Write a direction, or several by number, for the hook `direction`: data, no code."""
    several = [directions] if isinstance(directions, torch.Tensor) else directions
    return files.write_tensors(Path(file), {tensor_name(number): direction.contiguous() for number, direction in enumerate(several)})
