"""A denoiser's inner tokens as features: for probes, and for what corresponds to what."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anylatent.denoiser import Denoiser
from anylatent.hooks.base import HookedSites, Store, Visit
from anylatent.hooks.tap import Tap
from anylatent.nn.sites import no_site
from anylatent.perception.noising import made_streams, noised
from anylatent.state import State, Tally
from anylatent.types import Bool, Float, Int, Tensor


@torch.no_grad()
def token_features(
    denoiser: Denoiser,
    state: State,
    asked: Sequence[Mapping[str, Any]],
    block: int,
    time: float = 0.2,
    draw: int = 0,
    part: str = "block",
) -> Float[Tensor, "rows tokens width"]:
    """What the tokens of all streams are at a site, when the clean tokens are noised to `time` (Tang et al. 2023, 2306.03881).

    `part`, of those that the backbone names: the tokens after a `block` or the whole `trunk` (block 0), what `attention`,
    `cross` or `mlp` add to them, or what each head's mixing makes of the values, heads side by side (`attend`). Rows are noised by
    their seeds, but for kept tokens. Prepended condition tokens are left out, padding is 0. Errors: `ValueError` if there is no such site.
    """
    tap = Tap(block=block, part=part)
    if problem := no_site("hook 'tap'", tap.site, denoiser.backbone):
        raise ValueError(problem)
    times = {spec.name: torch.full_like(state[spec.name].time, time) for spec in made_streams(denoiser)}
    shown = noised(denoiser, state, times, "features", draw)
    store, rows = Store(), len(state)
    who = [(row, "features") for row in range(rows)]
    zeros = torch.zeros(rows, dtype=torch.long, device=state.device)
    visit = Visit(who, zeros == 0, zeros, zeros + 1, torch.full((rows,), time, device=state.device), store, Tally())
    denoiser(shown, denoiser.conditions(asked, state.device), HookedSites([(tap, visit)]))
    mask = torch.cat([state[spec.name].mask for spec in denoiser.specs], 1)
    items = [store.item("tap", tap.site, address) for address in who]
    kept = [item for item in items if item is not None]
    assert len(kept) == rows, "a store this size keeps one batch"
    out = torch.zeros(*mask.shape, kept[0].shape[1], device=state.device)
    for row, item in enumerate(kept):
        out[row, mask[row]] = item[-int(mask[row].sum()) :].to(out.dtype)
    return out


def sample_features(tokens: Float[Tensor, "rows tokens width"], mask: Bool[Tensor, "rows tokens"]) -> Float[Tensor, "rows width"]:
    """The mean over each row's valid tokens."""
    weight = mask[..., None].to(tokens.dtype)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)


def correspondences(
    first: Float[Tensor, "tokens width"], second: Float[Tensor, "others width"]
) -> tuple[Int[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """For each token of one sample, the most alike of another, and their cosine (Tang et al. 2023, 2306.03881, section 3)."""
    a, b = torch.nn.functional.normalize(first, dim=-1), torch.nn.functional.normalize(second, dim=-1)
    cosine, index = (a @ b.T).max(1)
    return index, cosine
