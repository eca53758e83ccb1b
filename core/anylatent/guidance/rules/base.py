"""The contract of a rule."""

from anylatent.moment import Here
from anylatent.node import Node
from anylatent.paths.base import Path, not_gaussian
from anylatent.types import Float, Tensor

Tokens = Float[Tensor, "rows tokens width"]
Scale = Float[Tensor, "rows 1 1"]


class Rule(Node, family="rule"):
    """Makes one prediction out of the asked one and a weaker one. Rows must not touch each other; padding changes nothing."""

    def supports(self, path: Path, guidance: str) -> str | None:
        """Why a guidance of this kind cannot use it on this path, or None."""
        return None

    def memory(self, x: Tokens) -> dict[str, Tensor]:
        """What it remembers of a stream before a row's first question."""
        return {}

    def extend(self, asked: Tokens, weak: Tokens, scale: Scale, here: Here) -> Tokens:
        """The prediction of the clean tokens, extended from `weak` through `asked`; `scale` 1 means `asked`."""
        raise NotImplementedError

    def _of_gaussian_paths(self, path: Path, guidance: str) -> str | None:
        return not_gaussian(path, f"guidance '{guidance}' with the rule '{self.kind}' works on")


def made(x: Tokens, here: Here) -> Tokens:
    """`x` where tokens are made; 0 in the padding and in given tokens, so that sums over a row are over what is made."""
    return x * (here.mask & ~here.keep)[..., None].to(x.dtype)


def inner(a: Tokens, b: Tokens) -> Scale:
    """The inner product of each row's tokens."""
    return (a * b).sum((1, 2), keepdim=True)
