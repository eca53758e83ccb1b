"""The recipe node of the causal video autoencoder."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from anylatent.spec import AxisSpec
from anylatent.tokenizers.config import TokenizerConfig
from anylatent.training.config import Training

if TYPE_CHECKING:
    from anylatent_video.autoencoder import Autoencoder


class AutoencoderConfig(TokenizerConfig, kind="video.autoencoder"):
    """A causal convolutional autoencoder with Gaussian latents.

    The first frame has latents of its own; then each `time` frames and `factor` x `factor` pixels become one token. A single
    image is a clip of one frame.
    """

    time: Literal[1, 2, 4, 8] = Field(default=4, description="Frames per latent, after the first: a clip has 1 + n * time frames.")
    factor: Literal[1, 2, 4, 8, 16] = Field(default=4, description="Pixels per latent cell, along each side.")
    channels: int = Field(default=8, ge=1, le=128, description="Channels of a latent cell: the width of a token.")
    width: int = Field(
        default=16,
        ge=8,
        multiple_of=8,
        description="Channels of the convolutions at full size; twice at a half, four times from a quarter on.",
    )
    depth: int = Field(default=1, ge=1, description="Residual blocks at each size.")
    kl_weight: float = Field(default=1e-3, ge=0, description="Of the Kullback-Leibler divergence to the standard normal, per latent value.")
    l1_weight: float = Field(default=1.0, ge=0, description="Of the mean absolute error (in [-1, 1] units) beside the mean squared error.")
    chunk: int = Field(default=16, ge=1, description="Latent times that are encoded or decoded at once: bounds the memory, not the result.")
    train: Training = Training(steps=1000, batch=16, learning_rate=2e-3, decay="cosine", ema=())

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "Autoencoder":
        """The untrained autoencoder for clips of the height, width and channels of `example`, of any length that fits.

        Errors: `ValueError` if it is no `(frames, height, width, channels)` tensor, or its sides or frames do not fit.
        """
        from anylatent_video.autoencoder import Autoencoder

        shape: tuple[int, ...] = tuple(getattr(example, "shape", ()))
        if len(shape) != 4:
            raise ValueError(f"video.autoencoder takes tensors (frames, height, width, channels), given {shape or type(example).__name__}")
        frames, height, width, channels = shape
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"video.autoencoder with factor {self.factor} needs sides that are multiples of it, given {height} x {width} pixels: "
                f"choose another `factor`, or another `size` of the data set"
            )
        if (frames - 1) % self.time:
            below = 1 + (frames - 1) // self.time * self.time
            raise ValueError(
                f"video.autoencoder with time {self.time} needs 1 + n * {self.time} frames, given {frames}: set `frames` of the data set "
                f"to {below} or {below + self.time}, or choose another `time`"
            )
        return Autoencoder(self, height, width, channels, frames, axes[0].step if axes else 1.0)
