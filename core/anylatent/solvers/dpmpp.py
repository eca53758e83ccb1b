"""DPM-Solver++ with several steps: exponential integrators of the data prediction."""

from typing import ClassVar

from anylatent.paths.base import GaussianPath
from anylatent.solvers.base import Multistep
from anylatent.solvers.exponential import columns
from anylatent.types import Float, Tensor


class DPMpp2M(Multistep, kind="dpm++2m"):
    """Linear extrapolation of the prediction in lambda = ln(alpha / sigma) (Lu et al. 2022, 2211.01095, algorithm 2).

    First order where there is nothing to extrapolate from (the first step, or one after infinite noise) and in the step
    to t = 0, where lambda is infinite.
    """

    order: ClassVar[int] = 2
    history: ClassVar[int] = 1
    systems: ClassVar[tuple[str, ...]] = ("DPM-Solver++ (2211.01095)",)

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        return columns(path, times, 2, line="bh2")[:-1]


class DPMpp3M(Multistep, kind="dpm++3m"):
    """Quadratic extrapolation of the prediction in lambda = ln(alpha / sigma) (Lu et al. 2022, 2211.01095, sec. 4.2).

    The parabola is integrated exactly. (The authors' code, and others after it, take half of its curvature: second order.) Lower orders
    as `dpm++2m`: of order 3 once it has three points, from a cold start 2.
    """

    order: ClassVar[int] = 3
    history: ClassVar[int] = 2
    systems: ClassVar[tuple[str, ...]] = ("DPM-Solver++ (2211.01095)",)

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        return columns(path, times, 3, line="bh2")[:-1]
