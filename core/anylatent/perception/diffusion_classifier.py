"""Zero-shot classification by denoising error."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch

from anylatent import random
from anylatent.denoiser import Denoiser
from anylatent.paths.base import GaussianPath
from anylatent.paths.discrete import DiscretePath
from anylatent.perception.noising import made_streams, noised
from anylatent.state import State
from anylatent.types import Float, Tensor

Weight = Literal["noise", "likelihood"]


@torch.no_grad()
def denoising_errors(
    denoiser: Denoiser,
    state: State,
    asked: Sequence[Mapping[str, Any]],
    candidates: Sequence[Mapping[str, Any]],
    draws: int = 32,
    weight: Weight = "noise",
    batch: int = 256,
) -> Float[Tensor, "rows candidates"]:
    """How badly each row is denoised, if it is said to be each of the candidates: the lowest is the diffusion classifier's answer.

    (Li et al. 2023, 2303.16203, algorithm 1; Clark & Jaini 2023, 2303.15233.) `asked`: what else is known of each row, to which
    a candidate adds. The `draws` times (evenly spread quantiles) and noises of a row are its own, the same for all candidates:
    their differences are then far less noisy. `weight` "noise": the mean squared error of the noise, as published;
    "likelihood": minus the logarithm of the density up to a constant (Kingma et al. 2021, 2107.00630, eq. 15), so that a softmax of the
    negative errors is the posterior of equally likely candidates. On discrete paths "noise" is the cross-entropy, mean over
    tokens, at all times alike, and "likelihood" the path's bound of -log p (`DiscretePath.bound`), in nats too.

    Calls: rows x candidates x draws. Errors: `ValueError` for a stream whose path is neither Gaussian nor discrete.
    """
    for problem in unclassified(denoiser):
        raise ValueError(problem)
    total = torch.zeros(len(state), len(candidates), dtype=torch.float64, device=state.device)
    for first in range(0, len(state), batch):
        index = torch.arange(first, min(first + batch, len(state)), device=state.device)
        clean = state.select(index)
        rows = [asked[i] for i in index.tolist()]
        conditions = [denoiser.conditions([dict(row) | dict(candidate) for row in rows], state.device) for candidate in candidates]
        for draw in range(draws):
            times, weights = _times(denoiser, clean, draw, draws, weight)
            shown = noised(denoiser, clean, times, "classifier", draw)
            for k, condition in enumerate(conditions):
                total[index, k] += _error(denoiser, clean, denoiser(shown, condition), weights, shown, weight)
    return (total / draws).float()


def unclassified(denoiser: Denoiser) -> Iterator[str]:
    """Why classes cannot be told by a denoiser's errors, of its paths."""
    for spec in made_streams(denoiser):
        path = denoiser.path(spec.name)
        if not isinstance(path, GaussianPath | DiscretePath):
            yield f"stream '{spec.name}' is on the path '{path.kind}': the diffusion classifier needs a Gaussian or a discrete one"


def _times(denoiser: Denoiser, state: State, draw: int, draws: int, weight: Weight) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Each row's own time `(B, 1)`, by stream that is made, and how much a squared error counts there `(B,)`."""
    u = (random.uniform(state.seeds, "classifier", 0, draw, 1)[:, 0] + draw) / draws
    times, weights = {}, {}
    for spec in made_streams(denoiser):
        stream, path = state[spec.name], denoiser.path(spec.name)
        free = (stream.mask & ~stream.keep).sum(1)
        if isinstance(path, GaussianPath):
            t = _time(path, path.start(denoiser.corruptions[spec.name].prediction), u, weight)
            snr = (path.alpha(t) / path.sigma(t)) ** 2
            # In t, noise errors count alike; in ln(ratio), a half |d snr / d ln ratio| = snr, over the length of that axis.
            weights[spec.name] = snr / (free * spec.width).clamp(min=1) if weight == "noise" else snr * _span()
        elif weight == "noise":
            t, weights[spec.name] = u, 1 / free.clamp(min=1)
        else:
            t, weights[spec.name] = u**2, 2 * u  # most of the bound is near t = 0
        times[spec.name] = t[:, None]
    return times, weights


_RATIOS = (1e-2, 1e2)
"""Noise-to-signal ratios that the likelihood is integrated between."""


def _span() -> float:
    low, high = torch.tensor(_RATIOS, dtype=torch.float64).log().tolist()
    return high - low


def _time(path: GaussianPath, start: float, u: Float[Tensor, " rows"], weight: Weight) -> Float[Tensor, " rows"]:
    if weight == "noise":
        return u * start
    low, _ = torch.tensor(_RATIOS, dtype=torch.float64).log().tolist()
    return path.time_of((low + u.double() * _span()).exp()).float().clamp(max=start)


def _error(
    denoiser: Denoiser, clean: State, data: Mapping[str, Tensor], weights: Mapping[str, Tensor], noised: State, weight: Weight
) -> Float[Tensor, " rows"]:
    total = torch.zeros(len(clean), dtype=torch.float64, device=clean.device)
    for name, counted in weights.items():
        stream, path, x0 = noised[name], denoiser.path(name), clean[name].values
        if not isinstance(path, DiscretePath):
            errors = (data[name] - x0).square().sum(-1)
        elif weight == "noise":
            errors = -path.log_of(x0, data[name])
        else:
            errors = path.bound(data[name], x0, stream.values, stream.time[..., None])
        total += counted.double() * errors.double().masked_fill(~(stream.mask & ~stream.keep), 0).sum(1)
    return total
