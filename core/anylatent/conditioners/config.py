"""The recipe node of a conditioner."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from anylatent.node import Node

if TYPE_CHECKING:
    from anylatent.conditioners.base import Conditioner

Slot = Literal["global", "cross", "prepend"]


class ConditionerConfig(Node, family="conditioner"):
    """Describes a conditioner. `slot`: added to the time embedding, attended to, or put before the tokens."""

    slot: Slot = "global"
    dropout: float = 0.1
    """How often training replaces the condition by its null, so that guidance has one."""

    def build(self, width: int, values: Sequence[Any]) -> "Conditioner":
        """The conditioner for a denoiser of model width `width`; `values`: those of the training set (to size and scale it)."""
        raise NotImplementedError

    def parse(self, text: str) -> Any:
        """A value typed on the command line. Errors: `ValueError` saying what is expected."""
        raise NotImplementedError
