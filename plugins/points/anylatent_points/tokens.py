"""The recipe nodes of the tokenizers that learn nothing: points as they are, and leaves of a k-d tree."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from anylatent.spec import AxisSpec
from anylatent.tokenizers.config import TokenizerConfig

if TYPE_CHECKING:
    from anylatent.tokenizers.base import Tokenizer


class PointSetConfig(TokenizerConfig, kind="points.set"):
    """Each point a token: a pure set, of any size."""

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "Tokenizer":
        from anylatent_points.token_tokenizers import PointSet

        return PointSet(self, example)


class LeavesConfig(TokenizerConfig, kind="points.leaves"):
    """Patches of `patch` neighbouring points: the leaves of a balanced k-d tree (Klokov & Lempitsky 2017, 1704.01222).

    The cloud is halved at the median again and again, along z, y and x in turn. A leaf's place in the tree is its position,
    a point's place in the leaf its channels: neither depends on the order in which the points were given. With `detail` below
    1, noise drowns the differences within a patch first, so that where patches are is settled before what is in them.
    """

    patch: int = Field(default=8, ge=1, le=256, description="Points of a token: a power of two.")
    detail: float = Field(default=1.0, gt=0, le=1, description="Standard deviation of the differences within a patch; of its mean: 1.")

    @field_validator("patch")
    @classmethod
    def _power(cls, patch: int) -> int:
        if patch & (patch - 1):
            raise ValueError(f"a patch of {patch} points cannot be halved down to one: choose a power of two")
        return patch

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "Tokenizer":
        """Errors: `ValueError` if the example is no cloud, or its size cannot be halved down to patches."""
        from anylatent_points.token_tokenizers import Leaves

        return Leaves(self, example)
