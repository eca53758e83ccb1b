"""The times that a solver visits, from the path's start (near 1) to 0. A schedule knows times, paths and where tokens are."""

from anylatent.schedules.base import Schedule
from anylatent.schedules.rising import Resample, Restart, Rise
from anylatent.schedules.spaced import BetaSteps, CosineSteps, LogitNormal, Rho, Uniform
from anylatent.schedules.table import Table, searched
from anylatent.schedules.tokens import ByLength, Pyramid

__all__ = [
    "BetaSteps", "ByLength", "CosineSteps", "LogitNormal", "Pyramid", "Resample", "Restart", "Rho", "Rise", "Schedule", "Table",
    "Uniform", "searched",
]  # fmt: skip
