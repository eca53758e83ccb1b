"""The recipe nodes of backbones."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from anylatent.node import Node
from anylatent.spec import StreamSpec

if TYPE_CHECKING:
    from anylatent.nn.backbone import Backbone


class BackboneConfig(Node, family="denoiser"):
    """Describes the network inside a denoiser."""

    @property
    def model_width(self) -> int:
        """The width D of its tokens, to which conditions are made."""
        raise NotImplementedError

    def build(self, specs: tuple[StreamSpec, ...], cross: bool) -> "Backbone":
        """The network, freshly initialised. `cross`: whether a condition will be attended to."""
        raise NotImplementedError


class DiTConfig(BackboneConfig, kind="dit"):
    """A diffusion transformer with adaLN-zero, QK-norm and rotary positions (Peebles & Xie 2022, 2212.09748).

    `self_conditioning`: the network is told its own last prediction beside the noised tokens (Chen et al. 2022, 2208.04202, sec. 2.3):
    in training, in this share of the rows, that of a first pass without gradient; in sampling, what came of the row's last
    step, guided and corrected, the same for every branch. 0: no such input and no weights for it.
    """

    systems: ClassVar[tuple[str, ...]] = ("Self-conditioning, Analog Bits (2208.04202)",)

    depth: int = Field(default=6, ge=1, description="Blocks.")
    width: int = Field(default=192, ge=8, description="Channels of a token inside the network.")
    heads: int = Field(default=6, ge=1, description="Attention heads; must divide the width into even parts.")
    mlp: float = Field(default=4.0, gt=0, description="Hidden width of the perceptron, in widths.")

    absolute: bool = Field(
        default=False,
        description="Tell tokens also where they are, not only how far from each other: for streams whose beginning or edges matter.",
    )
    self_conditioning: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of training rows that are told a first prediction; sampling is then told its last. Usual: 0.5. 0: off.",
    )

    @model_validator(mode="after")
    def _divides(self) -> "DiTConfig":
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"width {self.width} cannot be shared by {self.heads} heads of even width: choose a multiple of {2 * self.heads}"
            )
        return self

    @property
    def model_width(self) -> int:
        return self.width

    def build(self, specs: tuple[StreamSpec, ...], cross: bool) -> "Backbone":
        from anylatent.nn.dit import DiTNetwork

        sizes = {name: getattr(self, name) for name in ("depth", "width", "heads", "mlp", "absolute", "self_conditioning")}
        return DiTNetwork(specs, cross=cross, **sizes)
