"""Recipe nodes of the tokenizers of joint samples."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from anylatent.joint.data import require_names
from anylatent.spec import Axes
from anylatent.tokenizers.config import TokenizerConfig
from anylatent.training.config import Training

if TYPE_CHECKING:
    from anylatent.tokenizers.base import Tokenizer


class JointConfig(TokenizerConfig, kind="joint"):
    """A tokenizer a part; the streams of all parts make one state, named after the parts."""

    parts: dict[str, TokenizerConfig] = Field(min_length=2, description="The parts' tokenizers, by the parts' names.")
    train: Training = Training(steps=500, batch=64, ema=())

    @field_validator("parts")
    @classmethod
    def _named(cls, parts: dict[str, TokenizerConfig]) -> dict[str, TokenizerConfig]:
        require_names(parts)
        return parts

    def build(self, example: Any, axes: Axes = ()) -> "Tokenizer":
        """Errors: `ValueError` if the example has other parts."""
        from anylatent.joint.joint_tokenizer import JointTokenizer

        if not isinstance(example, Mapping) or set(example) != set(self.parts):
            given = sorted(example) if isinstance(example, Mapping) else type(example).__name__
            raise ValueError(f"tokenizer 'joint' has the parts {sorted(self.parts)}, the samples have {given}: name the same in both")
        by_part: Mapping[str, Any] = axes if isinstance(axes, Mapping) else {}
        return JointTokenizer(self, {name: part.build(example[name], by_part.get(name, ())) for name, part in self.parts.items()})


class LabelConfig(TokenizerConfig, kind="label"):
    """One token of random signs a class, decoded to the nearest one: bits made continuous (Chen et al. 2022, 2208.04202).

    Codes longer than the number of bits keep classes apart when a denoiser's values are not quite at the corners. With
    `classes`, one token of a vocabulary instead, for the path `masked`.
    """

    width: int = Field(default=16, ge=2, description="Signs a class.")
    classes: int = Field(default=0, ge=0, description="Over 0: a categorical token, of at most so many classes and the mask. 0: signs.")
    stream: str = Field(default="label", description="Name of the stream.")

    def build(self, example: Any, axes: Axes = ()) -> "Tokenizer":
        """Errors: `ValueError` if samples are no labels."""
        from anylatent.joint.label_tokenizer import LabelTokenizer

        return LabelTokenizer(self, example)
