"""How data and prior are joined. A path knows times and tokens; it knows no network, schedule or solver."""

from anylatent.paths.base import GaussianPath, Path, Prediction
from anylatent.paths.bernoulli import Bernoulli
from anylatent.paths.bridge import Bridge
from anylatent.paths.cosine import Cosine
from anylatent.paths.discrete import DiscretePath
from anylatent.paths.edm import EDM
from anylatent.paths.ratio import Brownian, Geometric, LinearBeta, Logistic, RatioPath, Sigmoid
from anylatent.paths.rectified import Rectified
from anylatent.paths.vocabulary import Masked, UniformState

__all__ = [
    "EDM", "Bernoulli", "Bridge", "Brownian", "Cosine", "DiscretePath", "GaussianPath", "Geometric", "LinearBeta", "Logistic", "Masked",
    "Path", "Prediction", "RatioPath", "Rectified", "Sigmoid", "UniformState",
]  # fmt: skip
