"""Densities of several denoisers' samples, followed along the way of one sample."""

from anylatent.guidance.rules.base import made
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.paths.base import GaussianPath
from anylatent.types import Float, Tensor


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
    path, memory = here.path, here.memory
    assert isinstance(path, GaussianPath), "checked by `supports`"
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
