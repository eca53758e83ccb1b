"""Solvers of tokens that jump: what they share, and the exact reverse step."""

from typing import ClassVar

from pydantic import Field

from anylatent.paths.base import Path
from anylatent.paths.discrete import DiscretePath
from anylatent.paths.vocabulary import Masked
from anylatent.solvers.base import Memory, Move, Query, Solver, Steps
from anylatent.types import Float, Tensor


class DiscreteSolver(Solver):
    """Draws tokens. The error of a step is that all tokens are drawn at once, as if none told of another."""

    order: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True

    temperature: float = Field(
        default=1.0, gt=0, description="Of the predicted probabilities: below 1, the likelier is likelier. 1: as they are."
    )

    def supports(self, path: Path) -> str | None:
        if isinstance(path, DiscretePath):
            return None
        return f"solver '{self.kind}' draws tokens on discrete paths (masked, uniform-state, bernoulli), not on '{path.kind}'"

    def tempered(self, path: DiscretePath, data: Tensor) -> Tensor:
        """The predicted probabilities at the solver's temperature; what is impossible stays so."""
        return data if self.temperature == 1 else path.mixed({"asked": data}, lambda natural: natural["asked"] / self.temperature)


class Jumping(DiscreteSolver):
    """Each token by itself, by the probabilities that a subclass gives."""

    def law(self, path: DiscretePath, data: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The probabilities of the tokens at `s`, given tokens `x` at `t` and the prediction `data` of the clean ones."""
        raise NotImplementedError

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        path = move.path
        assert isinstance(path, DiscretePath), "checked by `supports`"
        data = yield Query(x, move.t)
        return path.drawn(self.law(path, self.tempered(path, data), x, move.t, move.s), move.noise(0)), memory


class AncestralDiscrete(Jumping, kind="ancestral-discrete"):
    """x_s ~ sum over x0 of q(x_s | x_t, x0) p(x0 | x_t): exact for a single token (Austin et al. 2021, 2107.03006, eq. 3 and 4).

    With `remask` (ReMDM: Wang et al. 2025, 2503.00307, sec. 4.1, capped), tokens that were unmasked may be masked and drawn
    again: what too few tokens decided can still be mended.
    """

    systems: ClassVar[tuple[str, ...]] = ("D3PM (2107.03006)", "MDLM (2406.07524)", "VQ-Diffusion (2111.14822)", "ReMDM (2503.00307)")

    remask: float = Field(
        default=0.0, ge=0, description="How often a token is masked again on the way from t = 1 to 0, at most and on average. 0: never."
    )

    def supports(self, path: Path) -> str | None:
        refusal = super().supports(path)
        if refusal is None and self.remask and not (isinstance(path, Masked) and not path.replaced):
            return f"solver '{self.kind}' can remask only on the path 'masked' without `replaced`: leave `remask` at 0"
        return refusal

    def law(self, path: DiscretePath, data: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        if not self.remask:
            return path.posterior(data, x, t, s)
        assert isinstance(path, Masked), "checked by `supports`"
        return path.remasked(data, x, t, s, self.remask)
