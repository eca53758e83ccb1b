"""The recipe node of the tokenizer of observations and actions."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from anylatent.spec import Axes
from anylatent.tokenizers.config import TokenizerConfig

if TYPE_CHECKING:
    from anylatent.tokenizers.base import Tokenizer


class ChunksConfig(TokenizerConfig, kind="robot.chunks"):
    """A token for each observation (given, never made) and one for each action, on one axis of time."""

    clip: float = Field(default=5.0, gt=0, description="Observations more standard deviations from the mean are cut there.")
    floor: float = Field(
        default=1e-3, gt=0, description="The least standard deviation, in raw units: channels that hardly move stay quiet."
    )
    remembered: int = Field(default=64, ge=1, description="Observations of each task that are kept to make samples for.")

    def build(self, example: Any, axes: Axes = ()) -> "Tokenizer":
        from anylatent_robot.chunks_tokenizer import ChunksTokenizer

        return ChunksTokenizer(self, example)
