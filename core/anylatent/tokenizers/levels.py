"""Numbers as tokens of a vocabulary, and as bits."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from anylatent.spec import Axes
from anylatent.tokenizers.config import TokenizerConfig

if TYPE_CHECKING:
    from anylatent.tokenizers.base import Tokenizer


class LevelsConfig(TokenizerConfig, kind="levels"):
    """Each number of another tokenizer's tokens, rounded to one of `levels`, is a token of a vocabulary.

    The levels lie evenly between the least and the greatest that training samples have, a channel. Tokens of several channels
    become as many, told apart by a coordinate `channel`. For the paths `masked` and `uniform-state`.
    """

    example: ClassVar[Mapping[str, Any]] = {"inner": {"kind": "grid", "patch": [1, 1]}}

    inner: TokenizerConfig = Field(description="Makes the numbers: `grid`, or the latents of an `autoencoder`.")
    levels: int = Field(default=17, ge=2, description="Entries of the vocabulary.")
    prior: Literal["mask", "uniform"] = Field(
        default="mask", description="What the path ends in: a mask (one more entry, for `masked`), or any level (for `uniform-state`)."
    )

    def build(self, example: Any, axes: Axes = ()) -> "Tokenizer":
        from anylatent.tokenizers.levels_tokenizer import LevelsTokenizer

        return LevelsTokenizer(self, self.inner.build(example, axes))

    @property
    def train(self) -> Any:
        """The training of the tokenizer inside."""
        return self.inner.train  # pyright: ignore[reportAttributeAccessIssue]


class BitsConfig(TokenizerConfig, kind="bits"):
    """Each number of another tokenizer's tokens, rounded to one of 2^`bits` levels, as the bits of that level.

    Binary for the path `bernoulli` (Wang et al. 2023, 2304.04820); `analog`, +1 and -1 as numbers for any Gaussian path (Chen
    et al. 2022, 2208.04202).
    """

    example: ClassVar[Mapping[str, Any]] = {"inner": {"kind": "grid", "patch": [2, 2]}}

    inner: TokenizerConfig = Field(description="Makes the numbers: `grid`, `set`, or the latents of an `autoencoder`.")
    bits: int = Field(default=4, ge=1, le=16, description="Of each number.")
    analog: bool = Field(default=False, description="Continuous tokens of +1 and -1 in place of binary ones.")
    gray: bool = Field(default=False, description="Gray code: neighbouring levels differ in one bit.")

    def build(self, example: Any, axes: Axes = ()) -> "Tokenizer":
        from anylatent.tokenizers.levels_tokenizer import BitsTokenizer

        return BitsTokenizer(self, self.inner.build(example, axes))

    @property
    def train(self) -> Any:
        """The training of the tokenizer inside."""
        return self.inner.train  # pyright: ignore[reportAttributeAccessIssue]
