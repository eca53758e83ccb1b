"""The recipe node of the tokenizer whose tokens have places: occupied cells of space, in patches."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from anylatent.spec import AxisSpec
from anylatent.tokenizers.config import TokenizerConfig

if TYPE_CHECKING:
    from anylatent.tokenizers.base import Tokenizer


class VoxelsConfig(TokenizerConfig, kind="points.voxels"):
    """Space in small cells, each with points in it or not; a token is a block of `patch` cells along x, y and z.

    Tokens have places, so samples can be asked for longer along x, y and z than those of training. A cloud is drawn back as
    points spread over its occupied cells: where in a cell a point was is lost.
    """

    cells: int = Field(default=32, ge=2, le=256, description="Cells along the longest side of the box that all training clouds are in.")
    patch: int = Field(default=4, ge=1, le=32, description="Cells of a token along each axis.")

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "Tokenizer":
        """Errors: `ValueError` if the example is no cloud, or all of it is in the middle of its frame."""
        from anylatent_points.voxels_tokenizer import Voxels

        return Voxels(self, example)
