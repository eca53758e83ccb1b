"""A small classifier, trained on the recipe's own data: the feature space of image metrics."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from anylatent.metrics.base import Evidence, Features
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent_image.classifier_network import Trained


class Classifier(Features, kind="image.classifier"):
    """64 features of a convolutional classifier, trained once on the labelled images of `train` and kept by fingerprint.

    The features are those before the last layer, centred and with unit mean variance on `train`.
    """

    width: ClassVar[int] = 64

    condition: str = Field(default="label", description="The condition that is the class.")
    steps: int = Field(default=400, ge=1, description="Training steps.")
    batch: int = Field(default=64, ge=1, description="Images a training step.")
    learning_rate: float = Field(default=3e-3, gt=0, description="Highest learning rate of AdamW (one cycle).")

    def compute(self, samples: Sequence[Tensor], evidence: Evidence) -> Float[Tensor, "samples features"]:
        """Features `(n, 64)`. Errors: `ValueError` if the training images have no such condition."""
        return self.trained(evidence).features(samples)

    def fingerprint(self, evidence: Evidence) -> str:
        """Of the configuration and of the training data: what decides the network."""
        from anylatent_image.classifier_network import fingerprint

        return fingerprint(self, evidence.train)

    def trained(self, evidence: Evidence) -> "Trained":
        """The network: from `evidence.cache`, or trained now and put there."""
        from anylatent_image.classifier_network import load_or_train

        return load_or_train(self, evidence.train, evidence.test, evidence.cache)
