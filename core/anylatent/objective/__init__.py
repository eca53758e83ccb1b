"""What training minimises: a path, what is predicted, which noise meets which sample, at which times, and what errors cost."""

from anylatent.objective.coupling import Coupling, Independent, Nearest, OptimalTransport, Stored
from anylatent.objective.losses import DirectionLoss, Loss, Robust, Squared
from anylatent.objective.objective import Objective, StreamObjective
from anylatent.objective.times import LogitNormalTimes, LogNormalTimes, LogSNRTimes, TimeDensity, UniformTimes, UShapedTimes
from anylatent.objective.weighting import P2, EDMWeighting, MaxSNR, MinSNR, SoftMinSNR, Unweighted, Weighting

__all__ = [
    "P2", "Coupling", "DirectionLoss", "EDMWeighting", "Independent", "LogNormalTimes", "LogSNRTimes", "LogitNormalTimes", "Loss", "MaxSNR",
    "MinSNR", "Nearest", "Objective", "OptimalTransport", "Robust", "SoftMinSNR", "Squared", "Stored", "StreamObjective", "TimeDensity",
    "UShapedTimes", "UniformTimes", "Unweighted", "Weighting",
]  # fmt: skip
