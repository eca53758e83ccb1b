"""Densities of several denoisers' samples, followed along the way of one sample."""

from anylatent.guidance.rules.base import made
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.paths.base import as_gaussian
from anylatent.types import Float, Tensor

REACH = 3.0
"""How far `levelling` goes from the mean of the predictions at most, in standard deviations of the step's noise."""
PATIENCE = 4.0
"""Of what densities are apart, `levelling` takes back this over the root of the number of steps at once."""


def remembered(x: Float[Tensor, "rows tokens width"], count: int) -> dict[str, Tensor]:
    """What is remembered of `count` densities before a row's first question."""
    rows, tokens, width = x.shape
    return {
        "log_densities": x.new_zeros(rows, count),
        "asked_x": torch.zeros_like(x),
        "asked_t": x.new_zeros(rows, tokens, 1),
        "asked_step": torch.full((rows,), -1, device=x.device),
        "said": x.new_zeros(rows, count, tokens, width),
    }


def followed(parts: Float[Tensor, "rows count tokens width"], here: Here) -> Float[Tensor, "rows count"]:
    """log q_i(x_t) of each of several denoisers at the tokens of this question, up to what they share; it is kept in `here.memory`.

    From x_t to a later question's x_s, log q_i(x_s) - log q_i(x_t) = log q_i(x_s | x_t) - log q(x_t | x_s), whose last term is
    everybody's. The step backwards is taken as normal around what the i-th clean prediction says, N(a x_t + b p_i, v)
    (Ho et al. 2020, 2006.11239, eq. 7, for any alpha and sigma). For small steps this is the Ito density estimator of Skreta
    et al. 2024 (2412.17762, theorem 1) without its common terms; like that it needs noise of the path's own size in each step.
    Only the first question of a step counts.
    """
    path, memory = as_gaussian(here.path), here.memory
    s, t = here.t.expand(-1, here.x.shape[1], 1), memory["asked_t"]
    new = here.moment.step != memory["asked_step"]
    falls = (t > s) & (new & (memory["asked_step"] >= 0))[:, None, None]
    alpha_t, sigma_t = path.alpha(t), path.sigma(t).where(falls, 1.0)
    alpha_s, sigma_s = path.alpha(s), path.sigma(s)
    kept = alpha_t / alpha_s.where(falls, 1.0)
    a, b = kept * (sigma_s / sigma_t) ** 2, alpha_s * (1 - (kept * sigma_s / sigma_t) ** 2)
    said = memory["said"]
    middle = said.mean(1)
    # |x_s - m|^2 - |x_s - m_i|^2 over 2 v, m_i = a x_t + b p_i and m their mean, as a product: squares would lose it.
    away = torch.where(falls, alpha_s / sigma_s.where(falls, 1.0) ** 2, 0.0)
    gains = []
    for i in range(said.shape[1]):
        step = here.x - a * memory["asked_x"] - b * (said[:, i] + middle) / 2
        gains.append(made(away * step * (said[:, i] - middle), here).sum((1, 2)))
    densities = memory["log_densities"] + torch.stack(gains, 1)
    wide = new[:, None, None]
    memory["log_densities"] = densities
    memory["asked_x"] = torch.where(wide, here.x, memory["asked_x"])
    memory["asked_t"] = torch.where(wide, s, t)
    memory["said"] = torch.where(wide[..., None], parts, said)
    memory["asked_step"] = torch.where(new, here.moment.step, memory["asked_step"])
    return densities


def levelling(
    parts: Float[Tensor, "rows count tokens width"], densities: Float[Tensor, "rows count"], here: Here
) -> Float[Tensor, "rows count"]:
    """Weights, with sum 1, of predictions p_i whose mixture makes `densities` equal in this step, as far as its noise lets it.

    The step ends at a x_t + b p + sqrt(v) z for the mixture p, and log q_i then gains minus |p - p_i|^2 b^2 / 2v, up to what all
    gain and what z adds, whose mean is 0. So that all are equal, with p = p_0 + sum w_k d_k and d_k = p_k - p_0:
    sum w_k <d_k, d_i> = <d_i, d_i> / 2 - (log q_i - log q_0), in the inner product times b^2 / v = snr_s - snr_t. This is kappa of
    SuperDiff's AND (Skreta et al. 2024, 2412.17762, algorithm 1) without the step's own noise, which a guidance does not know; the
    densities do know it at the next step, and it is taken back from then on: not at once, but a share of it that falls with the
    number of steps. Taken back whole, the noise across the level sets would be another than the path's, for which densities
    are followed, and they would be wrong however many the steps (measured: docs/methods/guidance.md). Where predictions nearly
    agree, nothing can be levelled by them: it goes no farther than `REACH`.
    """
    path, count = as_gaussian(here.path), parts.shape[1]
    t, s = here.t.double(), (here.t if here.s is None else here.s).double()
    gained = (path.alpha(s) / path.sigma(s).clamp(min=1e-3)) ** 2 - (path.alpha(t) / path.sigma(t).clamp(min=1e-3)) ** 2
    away = torch.stack([made(parts[:, i] - parts[:, 0], here) for i in range(1, count)], 1).double()
    away = (away * gained.clamp(min=0).sqrt()[:, None]).flatten(2)
    products = away @ away.mT
    lengths = products.diagonal(dim1=1, dim2=2)
    share = (PATIENCE * here.moment.steps.double().rsqrt()).clamp(max=1)[:, None]
    apart = lengths / 2 - products.sum(2) / count - share * (densities[:, 1:] - densities[:, :1]).double()
    least = 1e-6 * lengths.amax(1) + torch.finfo(products.dtype).tiny
    there = products + least[:, None, None] * torch.eye(count - 1, dtype=products.dtype, device=products.device)
    moved = torch.linalg.solve(there, apart)
    size = (moved * (products @ moved[..., None])[..., 0]).sum(1).clamp(min=0).sqrt()
    moved = moved * (REACH / size.clamp(min=REACH))[:, None]
    # Where nothing tells the predictions apart, what they count makes no difference either.
    moved = torch.where((lengths.amax(1) > 1e-12)[:, None], moved, 0.0) + 1 / count
    return torch.cat((1 - moved.sum(1, keepdim=True), moved), 1).to(parts.dtype)
