"""Patches of a dense array, on any number of axes."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from anylatent.spec import AxisSpec
from anylatent.tokenizers.config import TokenizerConfig

if TYPE_CHECKING:
    from anylatent.tokenizers.base import Tokenizer


class GridConfig(TokenizerConfig, kind="grid"):
    """Patches: each token is a block of `patch` cells of a sample `(*axes, channels)`, placed at its centre."""

    patch: tuple[int, ...] = Field(default=(2, 2), description="Cells of a patch, one number an axis.")
    stream: str = Field(default="tokens", description="The stream's name.")

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "Tokenizer":
        from anylatent.tokenizers.grid_tokenizer import GridTokenizer

        return GridTokenizer(self, example, axes)
