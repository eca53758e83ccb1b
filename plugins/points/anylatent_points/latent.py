"""The recipe node of the set autoencoder whose decoder is asked at any coordinates."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from anylatent.spec import AxisSpec
from anylatent.tokenizers.config import TokenizerConfig
from anylatent.training.config import Training

if TYPE_CHECKING:
    from anylatent.tokenizers.base import Tokenizer

What = Literal["occupancy", "distance"]


class LatentConfig(TokenizerConfig, kind="points.latent"):
    """A set of latents of a shape (3DShape2VecSet: Zhang et al. 2023, 2301.11445), decoded where one asks, meshed by marching cubes.

    `field`: `occupancy` (inside or outside) is learned from samples with meshes of closed parts; `distance`, to the
    surface, from any cloud: of open meshes and of bare points, its mesh is a shell of half-thickness `shell`.
    """

    field: What = Field(default="occupancy", description="What is decoded at a coordinate: occupancy, or unsigned distance.")
    latents: int = Field(default=32, ge=1, description="Latent tokens of a shape.")
    channels: int = Field(default=8, ge=1, description="Channels of a latent.")
    width: int = Field(default=96, ge=8, description="Width of the networks.")
    heads: int = Field(default=4, ge=1)
    depth: int = Field(default=3, ge=0, description="Self-attention blocks over the latents, in the decoder.")
    kl: float = Field(default=1e-3, ge=0, description="Weight of the divergence from the standard normal prior, per latent channel.")
    queries: int = Field(default=384, ge=8, description="Coordinates that are asked of a shape in a step of training.")
    shell: float = Field(default=0.05, gt=0, lt=1, description="Of `distance`: how far from the surface its mesh is.")
    grid: int = Field(default=40, ge=4, le=512, description="Cells along a side of the cube that is meshed.")
    points: int = Field(default=512, ge=1, le=100_000, description="Points of a decoded cloud, on its mesh.")
    train: Training = Training(steps=1000, batch=32, learning_rate=2e-3, decay="cosine", ema=())

    @model_validator(mode="after")
    def _divides(self) -> "LatentConfig":
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} cannot be shared by {self.heads} heads of even width: choose a multiple of {2 * self.heads}"
            )
        return self

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "Tokenizer":
        """Errors: `ValueError` if the example is no cloud."""
        from anylatent_points.latent_tokenizer import Latent

        return Latent(self, example)
