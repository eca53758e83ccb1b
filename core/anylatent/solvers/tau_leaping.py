"""Tau-leaping: the reverse jump process with its rates held."""

from typing import ClassVar

from anylatent.paths.discrete import DiscretePath
from anylatent.solvers.discrete import Jumping
from anylatent.types import Tensor


class TauLeaping(Jumping, kind="tau-leaping"):
    """The reverse rates of time t, held until s: a token jumps with probability 1 - exp(-(t - s) R), where its rates say.

    Campbell et al. 2022, 2205.14987, sec. 4.3; as there for entries without an order, a token jumps once a step at most. The
    step that ends at t = 0 draws from the prediction. `ancestral-discrete` makes the same step with an error less.
    """

    systems: ClassVar[tuple[str, ...]] = ("tauLDR (2205.14987)", "SEDD (2310.16834)")

    def law(self, path: DiscretePath, data: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return path.leap(data, x, t, s)
