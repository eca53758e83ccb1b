"""Core's own components, all of them: the list that recipes, the catalogue and the tests read. Imports no torch."""

from anylatent.conditioners.standard import ClassConfig, NumberConfig, SequenceConfig
from anylatent.corrections.classifier import ClassifierFunction, ClassifierGuidance
from anylatent.corrections.clip import Clip
from anylatent.corrections.ddnm import DDNM
from anylatent.corrections.diffpir import DiffPIR
from anylatent.corrections.dps import DPS
from anylatent.corrections.energy import EnergyGuidance
from anylatent.corrections.mmps import MMPS
from anylatent.corrections.pi_gdm import PiGDM
from anylatent.corrections.red_diff import REDDiff
from anylatent.denoiser_config import DiTConfig
from anylatent.editing.interpolate import Interpolate
from anylatent.editing.inverse import Inverse
from anylatent.editing.masked_completion import MaskedCompletion
from anylatent.editing.noise_space import NoiseSpace
from anylatent.editing.sdedit import SDEdit
from anylatent.editing.translate import Translate
from anylatent.energies import FunctionEnergy, Roughness, SampleFunction
from anylatent.guidance.autoguidance import Autoguidance
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.guidance.compose import Compose
from anylatent.guidance.none import Unguided
from anylatent.guidance.per_condition import PerCondition
from anylatent.guidance.perturbed import Perturbed
from anylatent.guidance.plus_plus import PlusPlus
from anylatent.guidance.reflection import Reflection
from anylatent.guidance.regions import Regions
from anylatent.guidance.rules.linear import LinearRule
from anylatent.guidance.rules.projected import Projected
from anylatent.guidance.rules.rescaled import Rescaled
from anylatent.guidance.rules.tangential import Tangential
from anylatent.guidance.rules.zero_star import ZeroStar
from anylatent.guidance.self_attention import SelfAttention
from anylatent.guidance.sum import Sum
from anylatent.guidance.windows import Windows
from anylatent.guidance.without_streams import WithoutStreams
from anylatent.hooks.attention_from import AttentionFrom
from anylatent.hooks.attention_received import AttentionReceived
from anylatent.hooks.direction import Direction
from anylatent.hooks.perturb_attention import PerturbAttention
from anylatent.hooks.residual_cache import ResidualCache
from anylatent.hooks.skip_blocks import SkipBlocks
from anylatent.joint.data import ConditionData, JointData
from anylatent.joint.editing import GivenParts
from anylatent.joint.energies import PartEnergy
from anylatent.joint.metrics import AsAsked, Conditional, EventsTogether, PartMetric
from anylatent.joint.modality import Joint, Label
from anylatent.joint.tokenizers import JointConfig, LabelConfig
from anylatent.measurements.average import Average, Total
from anylatent.measurements.blur import Blur
from anylatent.measurements.given import Function, Linear
from anylatent.measurements.select import Identity, Select
from anylatent.metrics.denoiser_knows import DiffusionClassifier, LikelihoodMetric, Probe
from anylatent.metrics.distinct import Distinct
from anylatent.metrics.flat import Flat
from anylatent.metrics.frechet import Frechet
from anylatent.metrics.istd import ISTD
from anylatent.metrics.memorisation import Memorisation
from anylatent.metrics.precision_recall import DensityCoverage, PrecisionRecall
from anylatent.metrics.tokens import TokenFeatures
from anylatent.node import Node
from anylatent.objective.coupling import Independent, Nearest, OptimalTransport, Stored
from anylatent.objective.losses import DirectionLoss, Robust, Squared
from anylatent.objective.times import LogitNormalTimes, LogNormalTimes, LogSNRTimes, UniformTimes, UShapedTimes
from anylatent.objective.weighting import P2, EDMWeighting, MaxSNR, MinSNR, SoftMinSNR, Unweighted
from anylatent.paths import EDM, Bridge, Brownian, Cosine, Geometric, LinearBeta, Logistic, Rectified, Sigmoid
from anylatent.paths.bernoulli import Bernoulli
from anylatent.paths.vocabulary import Masked, UniformState
from anylatent.schedules.rising import Resample, Restart
from anylatent.schedules.spaced import BetaSteps, CosineSteps, LogitNormal, Rho, Uniform
from anylatent.schedules.table import Table
from anylatent.schedules.tokens import ByLength, Pyramid
from anylatent.solvers.adams import AdamsBashforth
from anylatent.solvers.adaptive import Adaptive
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.discrete import AncestralDiscrete
from anylatent.solvers.dpm import DPMSolver
from anylatent.solvers.dpmpp import DPMpp2M, DPMpp3M
from anylatent.solvers.euler import Euler
from anylatent.solvers.exponential import DEIS, ERSDE, Exponential, SDEDPMpp
from anylatent.solvers.fitted import Fitted
from anylatent.solvers.heun import Heun
from anylatent.solvers.invertible import BDIA, EDICT
from anylatent.solvers.langevin import Langevin
from anylatent.solvers.runge_kutta import RungeKutta
from anylatent.solvers.sde_euler import SDEEuler
from anylatent.solvers.tau_leaping import TauLeaping
from anylatent.solvers.unipc import UniPC
from anylatent.solvers.unmasking import Unmask
from anylatent.solvers.value_search import ValueSearch
from anylatent.tokenizers.autoencoder import AutoencoderConfig
from anylatent.tokenizers.grid import GridConfig
from anylatent.tokenizers.levels import BitsConfig, LevelsConfig
from anylatent.tokenizers.set import SetConfig
from anylatent.training.method import Denoise


def core_components() -> list[type[Node]]:
    """Every component that needs no plugin."""
    return [
        Joint, Label, ConditionData, JointData,
        AutoencoderConfig, BitsConfig, GridConfig, JointConfig, LabelConfig, LevelsConfig, SetConfig,
        ClassConfig, NumberConfig, SequenceConfig,
        DiTConfig,
        Bridge, Brownian, Cosine, EDM, Geometric, LinearBeta, Logistic, Rectified, Sigmoid,
        Bernoulli, Masked, UniformState,
        LogNormalTimes, LogSNRTimes, LogitNormalTimes, UShapedTimes, UniformTimes,
        EDMWeighting, MaxSNR, MinSNR, P2, SoftMinSNR, Unweighted,
        DirectionLoss, Robust, Squared,
        Independent, Nearest, OptimalTransport, Stored,
        Denoise,
        BetaSteps, ByLength, CosineSteps, LogitNormal, Pyramid, Resample, Restart, Rho, Table, Uniform,
        AdamsBashforth, Adaptive, Ancestral, BDIA, DDIM, DEIS, DPMpp2M, DPMpp3M, DPMSolver, EDICT, ERSDE, Euler, Exponential, Fitted,
        Heun, Langevin, RungeKutta, SDEDPMpp, SDEEuler, UniPC, ValueSearch,
        AncestralDiscrete, TauLeaping, Unmask,
        Autoguidance, ClassifierFree, Compose, PerCondition, Perturbed, PlusPlus, Reflection, Regions, SelfAttention, Sum, Unguided,
        Windows, WithoutStreams,
        LinearRule, Projected, Rescaled, Tangential, ZeroStar,
        AttentionFrom, AttentionReceived, Direction, PerturbAttention, ResidualCache, SkipBlocks,
        DDNM, DPS, ClassifierFunction, ClassifierGuidance, Clip, DiffPIR, EnergyGuidance, MMPS, PiGDM, REDDiff,
        Average, Blur, Function, Identity, Linear, Select, Total,
        FunctionEnergy, PartEnergy, Roughness, SampleFunction,
        GivenParts, Interpolate, Inverse, MaskedCompletion, NoiseSpace, SDEdit, Translate,
        AsAsked, Conditional, EventsTogether, PartMetric,
        DensityCoverage, DiffusionClassifier, Distinct, Frechet, ISTD, LikelihoodMetric, Memorisation, PrecisionRecall, Probe,
        Flat, TokenFeatures,
    ]  # fmt: skip
