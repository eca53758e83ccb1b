"""The recipe node of the waveform autoencoder."""

from math import prod
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from anylatent.spec import AxisSpec
from anylatent.tokenizers.config import TokenizerConfig
from anylatent.training.config import Training

if TYPE_CHECKING:
    from anylatent_audio.waveform import Waveform

Stride = Annotated[int, Field(ge=2, le=16)]
Levels = Annotated[int, Field(ge=2, le=64)]


class WaveformConfig(TokenizerConfig, kind="audio.waveform"):
    """A convolutional autoencoder of the waveform: as many samples as the product of `strides` become one token.

    Latents are Gaussian (a KL autoencoder) or, with `levels`, rounded to so many values a channel (finite scalar
    quantisation, Mentzer et al. 2023, 2309.15505).
    """

    strides: tuple[Stride, ...] = Field(default=(8, 4, 4), min_length=1, max_length=8, description="Samples that each layer makes one of.")
    width: int = Field(
        default=64, ge=4, le=512, description="Channels after the first stride; twice as many after each other, up to 8-fold."
    )
    channels: int = Field(default=32, ge=1, le=512, description="Channels of a latent token.")
    levels: tuple[Levels, ...] = Field(default=(), description="Values of each channel, if latents are rounded; empty: Gaussian latents.")
    kl_weight: float = Field(default=1e-4, ge=0, description="Of the Kullback-Leibler divergence to the standard normal, per latent value.")
    waveform_weight: float = Field(
        default=5.0, ge=0, description="Of the waveform's relative error |x - x'| / |x|, beside the spectral loss."
    )
    crop: float = Field(default=0.5, gt=0, le=60, description="Seconds of each sound that a training step sees.")
    train: Training = Training(steps=1000, batch=16, learning_rate=1e-3, decay="cosine", ema=())

    @property
    def span(self) -> int:
        """Samples of a token."""
        return prod(self.strides)

    @property
    def latent(self) -> int:
        """Channels of a token."""
        return len(self.levels) or self.channels

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "Waveform":
        from anylatent_audio.waveform import Waveform

        return Waveform(self, example)
