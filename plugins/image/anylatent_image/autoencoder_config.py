"""The recipe node of the convolutional autoencoder."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from anylatent.spec import AxisSpec
from anylatent.tokenizers.config import TokenizerConfig
from anylatent.training.config import Training

if TYPE_CHECKING:
    from anylatent_image.autoencoder import Autoencoder


class AutoencoderConfig(TokenizerConfig, kind="image.autoencoder"):
    """A convolutional autoencoder with Gaussian latents: each `factor` x `factor` pixels become one token."""

    factor: Literal[1, 2, 4, 8, 16] = Field(default=4, description="Pixels per latent cell, along each side.")
    channels: int = Field(default=4, ge=1, le=128, description="Channels of a latent cell: the width of a token.")
    width: int = Field(
        32, ge=8, multiple_of=8, description="Channels of the convolutions at full size; twice at a half, four times from a quarter on."
    )
    depth: int = Field(default=1, ge=1, description="Residual blocks at each size.")
    kl_weight: float = Field(default=1e-3, ge=0, description="Of the Kullback-Leibler divergence to the standard normal, per latent value.")
    l1_weight: float = Field(default=1.0, ge=0, description="Of the mean absolute error (in [-1, 1] units) beside the mean squared error.")
    train: Training = Training(steps=1000, batch=64, learning_rate=2e-3, decay="cosine", ema=())

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "Autoencoder":
        """The untrained autoencoder for images of the form of `example`.

        Errors: `ValueError` if it is no `(height, width, channels)` tensor, or a side is no multiple of `factor`.
        """
        from anylatent_image.autoencoder import Autoencoder

        shape: tuple[int, ...] = tuple(getattr(example, "shape", ()))
        if len(shape) != 3:
            raise ValueError(f"image.autoencoder takes tensors (height, width, channels), given {shape or type(example).__name__}")
        height, width, channels = shape
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"image.autoencoder with factor {self.factor} needs sides that are multiples of it, given {height} x {width} pixels: "
                f"choose another `factor`, or another `size` of the data set"
            )
        return Autoencoder(self, height, width, channels)
