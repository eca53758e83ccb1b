"""The contract of a backbone: the network inside a denoiser."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from anylatent.condition import Condition
from anylatent.nn.sites import Sites
from anylatent.spec import StreamSpec
from anylatent.state import State
from anylatent.types import Float, Int, Tensor


class Backbone(nn.Module, ABC):
    """Tokens of all streams in, a prediction for each out.

    It has two halves: `tokens` makes of the noised tokens what is to be known of them, in its own width, and `readout` reads a
    prediction for each stream off it. Who wants to know something else of the tokens takes the first half, without the second.
    `sites` are the parts that it names for hooks; an opaque network (a third party's) leaves it empty, and what needs a
    site refuses it by name.
    """

    readout: nn.ModuleDict
    """What reads the prediction of a stream off its tokens, by the stream's name."""
    sites: ClassVar[frozenset[str]] = frozenset()
    depth: int = 0
    """How many blocks its sites tell apart."""
    self_conditioning: float = 0.0
    """Share of training rows that are told a first prediction (`Stream.told`); 0: it has no such input."""

    def __init__(self, specs: tuple[StreamSpec, ...], width: int) -> None:
        super().__init__()
        self.specs, self.width = specs, width

    @abstractmethod
    def modulate(self, levels: Float[Tensor, "rows levels"], vector: Float[Tensor, "rows width"]) -> Float[Tensor, "rows levels numbers"]:
        """What noise levels and the condition's vector do to every block: needs no tokens, so all steps' can be made at once."""

    @abstractmethod
    def tokens(
        self,
        values: Mapping[str, Tensor],
        state: State,
        modulation: Float[Tensor, "rows levels numbers"],
        level: Int[Tensor, "rows tokens"] | None,
        condition: Condition,
        sites: Sites | None = None,
    ) -> Float[Tensor, "rows tokens width"]:
        """What it makes of all streams' tokens, in the order of `specs`. `values`: the scaled tokens; `state`: places and masks.

        `level` `(B, N)`, all streams' tokens in the order of `specs`, says which of `modulation`'s L levels is a token's;
        None: all have level 0. Padding changes nothing.
        """

    def forward(
        self,
        values: Mapping[str, Tensor],
        state: State,
        modulation: Float[Tensor, "rows levels numbers"],
        level: Int[Tensor, "rows tokens"] | None,
        condition: Condition,
        sites: Sites | None = None,
    ) -> dict[str, Tensor]:
        """A prediction `(B, N, C)` a stream, read off `tokens`."""
        x = self.tokens(values, state, modulation, level, condition, sites)
        parts = x.split([state[spec.name].shape[1] for spec in self.specs], 1)
        return {spec.name: self.readout[spec.name](part) for spec, part in zip(self.specs, parts, strict=True)}
