"""Points as tokens: one token an element, without order."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from anylatent.spec import AxisSpec
from anylatent.tokenizers.config import TokenizerConfig

if TYPE_CHECKING:
    from anylatent.tokenizers.base import Tokenizer


class SetConfig(TokenizerConfig, kind="set"):
    """A sample `(elements, channels)` as a pure set: each element a token, no positions."""

    stream: str = Field(default="elements", description="The stream's name.")
    centred: tuple[int, ...] = Field(default=(), description="Channels (coordinates) whose mean over the elements is removed.")

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "Tokenizer":
        from anylatent.tokenizers.set_tokenizer import SetTokenizer

        return SetTokenizer(self, example)
