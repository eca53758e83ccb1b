"""The recipe node of a classifier of noised tokens."""

from pydantic import Field

from anylatent.denoiser_config import BackboneConfig, DiTConfig
from anylatent.node import Node
from anylatent.training.config import Training


class ClassifierConfig(Node):
    """A small network that tells a class condition from noised tokens, for the correction `classifier`: trained after the denoiser."""

    network: BackboneConfig = Field(
        default=DiTConfig(depth=3, width=128, heads=4, absolute=True), description="Its backbone, of any kind of denoiser."
    )
    train: Training = Field(
        default=Training(steps=1200, batch=64, learning_rate=2e-3, warmup=50, decay="cosine", weight_decay=0.05, ema=(0.99,), preview=0),
        description="How it is trained; its longest average is asked.",
    )
