"""A small spatio-temporal network, trained on the recipe's own clips: the feature space of video metrics."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from anylatent.metrics.base import Evidence, Features
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent_video.features_network import Trained


class ClipFeatures(Features, kind="video.features"):
    """64 features of a 3D convolutional network, trained once on the clips of `train` and kept by fingerprint.

    It learns in which order the frames are (forwards, backwards, shuffled, standing still), from any clips; and the classes that the
    records have under `conditions`. The features are those before the last layers, centred and with unit mean variance on `train`.
    """

    width: ClassVar[int] = 64

    conditions: tuple[str, ...] = Field(
        default=("direction", "sprite", "colour", "label"), description="Classes to learn, where the records have them."
    )
    steps: int = Field(default=300, ge=1, description="Training steps.")
    batch: int = Field(default=32, ge=1, description="Clips a training step.")
    learning_rate: float = Field(default=3e-3, gt=0, description="Highest learning rate of AdamW (one cycle).")

    def compute(self, samples: Sequence[Tensor], evidence: Evidence) -> Float[Tensor, "samples features"]:
        """Features `(n, 64)`, of clips of any length."""
        return self.trained(evidence).features(samples)

    def frames(self, samples: Sequence[Tensor], evidence: Evidence) -> Float[Tensor, "samples frames features"]:
        """Features of each frame alone, of the network's first, spatial part: for metrics that take time and space apart."""
        return self.trained(evidence).frame_features(samples)

    def fingerprint(self, evidence: Evidence) -> str:
        """Of the configuration and of the training data: what decides the network."""
        from anylatent_video.features_network import fingerprint

        return fingerprint(self, evidence.train)

    def trained(self, evidence: Evidence) -> "Trained":
        """The network: from `evidence.cache`, or trained now and put there."""
        from anylatent_video.features_network import load_or_train

        return load_or_train(self, evidence)
