"""Core's own components, all of them: the list that recipes, the catalogue and the tests read. Imports no torch."""

from anylatent.conditioners.standard import ClassConfig, NumberConfig, SequenceConfig
from anylatent.corrections.clip import Clip
from anylatent.denoiser_config import DiTConfig
from anylatent.editing.masked_completion import MaskedCompletion
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.guidance.none import Unguided
from anylatent.guidance.without_streams import WithoutStreams
from anylatent.hooks.residual_cache import ResidualCache
from anylatent.joint.data import ConditionData, JointData
from anylatent.joint.editing import GivenParts
from anylatent.joint.metrics import AsAsked, Conditional, EventsTogether, PartMetric
from anylatent.joint.modality import Joint, Label
from anylatent.joint.tokenizers import JointConfig, LabelConfig
from anylatent.metrics.distinct import Distinct
from anylatent.metrics.flat import Flat
from anylatent.metrics.frechet import Frechet
from anylatent.metrics.memorisation import Memorisation
from anylatent.metrics.precision_recall import DensityCoverage, PrecisionRecall
from anylatent.metrics.tokens import TokenFeatures
from anylatent.node import Node
from anylatent.objective import LogitNormalTimes, LogNormalTimes, UniformTimes
from anylatent.paths import EDM, Cosine, Rectified
from anylatent.schedules import LogitNormal, Rho, Uniform
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.euler import Euler
from anylatent.solvers.heun import Heun
from anylatent.solvers.sde_euler import SDEEuler
from anylatent.tokenizers.autoencoder import AutoencoderConfig
from anylatent.tokenizers.grid import GridConfig
from anylatent.tokenizers.set import SetConfig
from anylatent.training.method import Denoise


def core_components() -> list[type[Node]]:
    """Every component that needs no plugin."""
    return [
        Joint, Label, ConditionData, JointData,
        AutoencoderConfig, GridConfig, JointConfig, LabelConfig, SetConfig,
        ClassConfig, NumberConfig, SequenceConfig,
        DiTConfig,
        Cosine, EDM, Rectified,
        LogNormalTimes, LogitNormalTimes, UniformTimes,
        Denoise,
        LogitNormal, Rho, Uniform,
        Ancestral, DDIM, DPMpp2M, Euler, Heun, SDEEuler,
        ClassifierFree, Unguided, WithoutStreams,
        ResidualCache,
        Clip,
        GivenParts, MaskedCompletion,
        AsAsked, Conditional, EventsTogether, PartMetric,
        DensityCoverage, Distinct, Frechet, Memorisation, PrecisionRecall,
        Flat, TokenFeatures,
    ]  # fmt: skip
