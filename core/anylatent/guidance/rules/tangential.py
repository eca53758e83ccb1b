"""Tangential damping of the weak prediction."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.guidance.rules.base import Rule, Scale, Tokens, inner, made
from anylatent.lazy import torch
from anylatent.moment import Here
from anylatent.paths.base import Path, as_gaussian


class Tangential(Rule, kind="tangential"):
    """Tangential damping (TCFG): the linear rule with what the two velocities share in place of the weak one.

    A row's two velocities span a plane; the weak one keeps its part along their first right singular vector, and loses
    `damping` of the rest, which points out of the data's surface (Kwon et al. 2025, 2503.18137, alg. 1).
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {"damping": 0.0}
    systems: ClassVar[tuple[str, ...]] = ("TCFG (2503.18137)",)

    damping: float = Field(default=1.0, ge=0, le=1, description="What of the rest is lost; 0: the linear rule.")

    def supports(self, path: Path, guidance: str) -> str | None:
        return self._of_gaussian_paths(path, guidance)

    def extend(self, asked: Tokens, weak: Tokens, scale: Scale, here: Here) -> Tokens:
        path, x, t = as_gaussian(here.path), here.x, here.t
        if self.damping == 0:
            return weak + scale * (asked - weak)
        strong, away = (made(path.velocity(data, x, t), here) for data in (asked, weak))
        # The first singular vector of two vectors, from the 2 x 2 matrix of their products: at half the angle of (a - b, 2c).
        a, b, c = inner(strong, strong), inner(away, away), inner(strong, away)
        half = torch.atan2(2 * c, a - b) / 2
        along = half.cos() * strong + half.sin() * away
        shared = inner(away, along) / inner(along, along).clamp(min=1e-12) * along
        away = away + self.damping * (shared - away)
        data = path.convert(away + scale * (strong - away), "velocity", x, t)
        return torch.where((here.mask & ~here.keep)[..., None], data, asked)
