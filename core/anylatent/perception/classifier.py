"""Zero-shot classification by denoising error."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from anylatent import random
from anylatent.denoiser import Denoiser
from anylatent.paths.base import GaussianPath
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
    negative errors is the posterior of equally likely candidates.

    Calls: rows x candidates x draws. Errors: `ValueError` for a stream whose path is not Gaussian.
    """
    made = [spec for spec in denoiser.specs if not spec.given]
    for spec in made:
        if not isinstance(denoiser.path(spec.name), GaussianPath):
            raise ValueError(
                f"stream '{spec.name}' is on the path '{denoiser.path(spec.name).kind}': the diffusion classifier needs a Gaussian one"
            )
    conditions = [[dict(row) | dict(candidate) for row in asked] for candidate in candidates]
    total = torch.zeros(len(state), len(candidates), dtype=torch.float64, device=state.device)
    for draw in range(draws):
        noised, weights = _noised(denoiser, state, draw, draws, weight)
        for k, rows in enumerate(conditions):
            for first in range(0, len(state), batch):
                index = torch.arange(first, min(first + batch, len(state)), device=state.device)
                data = denoiser(noised.select(index), denoiser.conditions([rows[i] for i in index.tolist()], state.device))
                total[index, k] += _error(state.select(index), data, {name: w[index] for name, w in weights.items()}, noised.select(index))
    return (total / draws).float()


def _noised(denoiser: Denoiser, state: State, draw: int, draws: int, weight: Weight) -> tuple[State, dict[str, Tensor]]:
    """The rows at a time of their own, and how much a squared error counts there, by stream `(B,)`."""
    u = (random.uniform(state.seeds, "classifier", 0, draw, 1)[:, 0] + draw) / draws
    noised, weights = state, {}
    for spec in denoiser.specs:
        stream, path = state[spec.name], denoiser.path(spec.name)
        if spec.given:
            noised = noised.with_kept(spec.name, stream.mask)
            continue
        assert isinstance(path, GaussianPath), "checked by `denoising_errors`"
        t = _time(path, path.start(denoiser.corruptions[spec.name].prediction), u, weight)
        alpha, sigma = path.alpha(t), path.sigma(t)
        snr = (alpha / sigma) ** 2
        numbers = ((stream.mask & ~stream.keep).sum(1) * spec.width).clamp(min=1)
        # In t, noise errors count alike; in ln(ratio), a half |d snr / d ln ratio| = snr, over the length of that axis.
        weights[spec.name] = snr / numbers if weight == "noise" else snr * _span(path)
        x1 = path.prior(spec, state.noise(spec.name, 0, draw, "classifier"), stream.mask)
        noised = noised.with_values({spec.name: path.corrupt(stream.values, x1, t[:, None, None])})
        noised = noised.with_time({spec.name: t[:, None].expand(-1, stream.shape[1])})
    return noised, weights


_RATIOS = (1e-2, 1e2)
"""Noise-to-signal ratios that the likelihood is integrated between."""


def _span(path: GaussianPath) -> float:
    low, high = torch.tensor(_RATIOS, dtype=torch.float64).log().tolist()
    return high - low


def _time(path: GaussianPath, start: float, u: Float[Tensor, " rows"], weight: Weight) -> Float[Tensor, " rows"]:
    if weight == "noise":
        return u * start
    low, _ = torch.tensor(_RATIOS, dtype=torch.float64).log().tolist()
    return path.time_of((low + u.double() * _span(path)).exp()).float().clamp(max=start)


def _error(clean: State, data: Mapping[str, Tensor], weights: Mapping[str, Tensor], noised: State) -> Float[Tensor, " rows"]:
    total = torch.zeros(len(clean), dtype=torch.float64, device=clean.device)
    for name, weight in weights.items():
        stream = noised[name]
        counts = (stream.mask & ~stream.keep)[..., None]
        total += weight.double() * ((data[name] - clean[name].values).square() * counts).double().sum((1, 2))
    return total
