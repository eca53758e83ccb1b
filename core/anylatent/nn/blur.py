"""Tokens blurred over their places."""

from anylatent.types import Bool, Float, Tensor


def near(
    squared: Float[Tensor, "rows tokens tokens"], mask: Bool[Tensor, "rows tokens"] | None, sigma: float
) -> Float[Tensor, "rows tokens tokens"]:
    """What each valid token counts in each token's blur: a Gaussian of their squared distances, each row's sum 1 (or all 0)."""
    weight = (squared / (-2 * sigma**2)).exp()
    weight = weight if mask is None else weight * mask[:, None].to(weight.dtype)
    return weight / weight.sum(-1, keepdim=True).clamp(min=1e-12)


def blurred(
    x: Float[Tensor, "rows tokens width"],
    places: Float[Tensor, "rows tokens axes"] | None,
    mask: Bool[Tensor, "rows tokens"] | None,
    sigma: float,
) -> Float[Tensor, "rows tokens width"]:
    """Each token's mean over the row's valid tokens, weighted by a Gaussian of their distance, `places` in steps of their axes.

    Tokens without places: the mean of the row's valid tokens.
    """
    if places is not None and places.shape[-1]:
        return near((places[:, :, None] - places[:, None]).square().sum(-1), mask, sigma) @ x
    weight = x.new_ones(*x.shape[:2], 1) if mask is None else mask[..., None].to(x.dtype)
    return ((x * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1e-12)).expand_as(x)
