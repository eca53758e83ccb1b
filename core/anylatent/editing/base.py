"""The contract of an editor."""

from typing import TYPE_CHECKING, Any

from anylatent.node import Node
from anylatent.types import Tensor

if TYPE_CHECKING:
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer


class Editor(Node, family="editor"):
    """Prepares a state for the engine from given samples: what is kept, from what time the rest is made anew."""

    def start(self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> "State":
        """A state of `len(seeds)` rows (given samples repeated in turn); tokens with `keep` come back unchanged.

        Errors: `ValueError` if nothing would be kept, or nothing made anew, or the sample cannot be tokenized.
        """
        raise NotImplementedError

    def finish(self, samples: list[Any], given: list[Any]) -> list[Any]:
        """What was made and decoded, with what must come back as it was given put back: nothing, where tokens say it all."""
        return samples
