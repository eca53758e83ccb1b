"""The contract of a correction."""

from anylatent.node import Node
from anylatent.types import Float, Tensor


class Correction(Node, family="correction"):
    """Changes a stream's predicted clean tokens before a solver uses them. Rows must not touch each other."""

    def correct(self, data: Float[Tensor, "rows tokens width"], x: Float[Tensor, "rows tokens width"], t: Tensor) -> Tensor:
        """The corrected prediction, given the tokens `x` at time `t` (broadcasts against `x`) it was made from."""
        raise NotImplementedError
