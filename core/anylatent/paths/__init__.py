"""How data and prior are joined. A path knows times and tokens; it knows no network, schedule or solver."""

from anylatent.paths.base import GaussianPath, Path, Prediction
from anylatent.paths.cosine import Cosine
from anylatent.paths.edm import EDM
from anylatent.paths.rectified import Rectified

__all__ = ["EDM", "Cosine", "GaussianPath", "Path", "Prediction", "Rectified"]
