"""The recipe node of a tokenizer."""

from typing import TYPE_CHECKING, Any

from anylatent.node import Node
from anylatent.spec import AxisSpec

if TYPE_CHECKING:
    from anylatent.tokenizers.base import Tokenizer


class TokenizerConfig(Node, family="tokenizer"):
    """Describes a tokenizer; `build` makes it for samples like `example`."""

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "Tokenizer":
        """The tokenizer, untrained and unfitted. `axes`: the modality's sample axes, () for a set.

        Errors: `ValueError` if samples like `example` cannot be tokenized so (what was given, what was expected).
        """
        raise NotImplementedError
