"""A trainable autoencoder over the tokens of another tokenizer."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from anylatent.spec import AxisSpec
from anylatent.tokenizers.config import TokenizerConfig
from anylatent.training.config import Training

if TYPE_CHECKING:
    from anylatent.tokenizers.base import Tokenizer


class AutoencoderConfig(TokenizerConfig, kind="autoencoder"):
    """A KL autoencoder (Kingma & Welling 2013, 1312.6114; Rombach et al. 2021, 2112.10752): transformers over `inner`'s tokens.

    Each token of `inner` becomes one of `latent` channels, seen in the context of the sample's others.
    """

    inner: TokenizerConfig
    latent: int = Field(default=4, ge=1, description="Channels of a latent token.")
    width: int = Field(default=96, ge=8, description="Width of both transformers.")
    heads: int = Field(default=4, ge=1)
    depth: int = Field(default=2, ge=0, description="Blocks of each transformer.")
    kl: float = Field(default=1e-3, ge=0, description="Weight of the divergence from the standard normal prior, per latent channel.")
    train: Training = Training(steps=500, batch=128, ema=())

    @model_validator(mode="after")
    def _divides(self) -> "AutoencoderConfig":
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} cannot be shared by {self.heads} heads of even width: choose a multiple of {2 * self.heads}"
            )
        return self

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "Tokenizer":
        from anylatent.tokenizers.autoencoder_tokenizer import AutoencoderTokenizer

        return AutoencoderTokenizer(self, self.inner.build(example, axes))
