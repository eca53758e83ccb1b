"""The recipe node of a tokenizer."""

from typing import TYPE_CHECKING, Any

from anylatent.node import Node
from anylatent.spec import Axes

if TYPE_CHECKING:
    from anylatent.tokenizers.base import Tokenizer


class TokenizerConfig(Node, family="tokenizer"):
    """Describes a tokenizer; `build` makes it for samples like `example`."""

    def build(self, example: Any, axes: Axes = ()) -> "Tokenizer":
        """The tokenizer, untrained and unfitted. `axes`: the modality's sample axes, () for a set, by part for a joint sample.

        Errors: `ValueError` if samples like `example` cannot be tokenized so (what was given, what was expected).
        """
        raise NotImplementedError
