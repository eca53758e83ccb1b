"""What a recipe is: one node of each family, and the numbers of training and sampling."""

from typing import Literal

from pydantic import Field

from anylatent.conditioners.config import ConditionerConfig
from anylatent.denoiser_config import BackboneConfig
from anylatent.metrics.base import Metric
from anylatent.modality import Modality
from anylatent.node import Node
from anylatent.objective import Objective
from anylatent.recipe.migrations import VERSION
from anylatent.sampling import Sampling
from anylatent.tokenizers.config import TokenizerConfig
from anylatent.training.classifier_config import ClassifierConfig
from anylatent.training.config import Training
from anylatent.training.method import Denoise, Method
from anylatent.training.start import Start


class Recipe(Node):
    """A run, described: what is learned from which data, how samples are made, and how they are judged."""

    anylatent: Literal[1] = Field(default=VERSION, description="Version of the recipe language.")
    name: str = Field(default="", pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.+-]*)?$", description="Of the run's folder; empty: the file's.")
    modality: Modality = Field(description="What samples are, and the data set.")
    tokenizer: TokenizerConfig = Field(description="Samples to latent tokens, and back.")
    conditions: dict[str, ConditionerConfig] = Field(default={}, description="What samples can be asked to be, by the data set's names.")
    classifiers: dict[str, ClassifierConfig] = Field(
        default={}, description="Conditions of the data set, of kind class, that a classifier learns to tell from noised tokens."
    )
    denoiser: BackboneConfig = Field(description="The network that predicts clean tokens.")
    objective: Objective = Field(default=Objective(), description="What training minimises.")
    start: Start | None = Field(default=None, description="Another run to go on from: fine-tuning, or reflow.")
    method: Method = Field(default=Denoise(), description="Which roles there are in training, and the loss that they minimise.")
    train: Training = Field(default=Training(), description="How it is trained.")
    sample: Sampling = Field(default=Sampling(), description="How samples are made after training.")
    evaluate: tuple[Metric, ...] = Field(default=(), description="What judges the samples.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of everything random.")
