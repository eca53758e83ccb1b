"""Tokens blurred over their places."""

from anylatent.types import Bool, Float, Tensor


def blurred(
    x: Float[Tensor, "rows tokens width"],
    places: Float[Tensor, "rows tokens axes"] | None,
    mask: Bool[Tensor, "rows tokens"] | None,
    sigma: float,
) -> Float[Tensor, "rows tokens width"]:
    """Each token's mean over the row's valid tokens, weighted by a Gaussian of their distance, `places` in steps of their axes.

    Tokens without places: the mean of the row's valid tokens.
    """
    weight = x.new_ones(x.shape[0], 1, x.shape[1]) if mask is None else mask[:, None].to(x.dtype)
    if places is not None and places.shape[-1]:
        away = (places[:, :, None] - places[:, None]).square().sum(-1)
        weight = weight * (away / (-2 * sigma**2)).exp()
    mean = weight @ x / weight.sum(-1, keepdim=True).clamp(min=1e-12)
    return mean.expand_as(x)
