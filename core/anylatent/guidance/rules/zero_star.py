"""CFG-Zero*: an optimised weak prediction, and nothing at first."""

from typing import ClassVar

from pydantic import Field

from anylatent.guidance.rules.base import Rule, Scale, Tokens, inner, made
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.paths.base import Path, as_gaussian


class ZeroStar(Rule, kind="zero-star"):
    """CFG-Zero*: the weak velocity at its best length, and no move at all in the first steps.

    s weak + scale (asked - s weak) of velocities, s = <asked, weak> / |weak|^2, a row (Fan et al. 2025, 2503.18886, alg. 1): the
    weak velocity then is as close to the asked one as its length can make it. In the first `still` steps the velocity is 0: a
    poorly trained network's first steps lead astray (their zero-init; meant for one-step solvers such as Euler's, and for
    paths whose velocity is a difference of data and noise).
    """

    systems: ClassVar[tuple[str, ...]] = ("CFG-Zero* (2503.18886)",)

    still: int = Field(default=0, ge=0, description="Steps at the beginning in which nothing moves; the paper: the first 4 percent.")

    def supports(self, path: Path, guidance: str) -> str | None:
        return self._of_gaussian_paths(path, guidance)

    def extend(self, asked: Tokens, weak: Tokens, scale: Scale, here: Here) -> Tokens:
        path, x, t = as_gaussian(here.path), here.x, here.t
        strong, away = path.velocity(asked, x, t), path.velocity(weak, x, t)
        length = inner(made(away, here), away)
        away = away * inner(made(strong, here), away) / length.clamp(min=1e-8)
        velocity = away + scale * (strong - away)
        velocity = torch.where((here.moment.step < self.still)[:, None, None], 0.0, velocity)
        data = path.convert(velocity, "velocity", x, t)
        return torch.where((here.mask & ~here.keep)[..., None], data, asked)
