"""A pretrained text encoder on disk: what must be there, and what identifies it."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from anylatent.files import DamagedFile, read_json, sha256_of
from anylatent.types import Float, Tensor

_DECIDING = (".safetensors", ".json", ".txt", ".model")
"""The endings of files that decide what an encoder says of a text."""
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class TextEncoder(Protocol):
    """A frozen encoder in memory."""

    def states(self, text: str, device: torch.device) -> Float[Tensor, "tokens width"]:
        """The last layer's state of each token. Errors: `ValueError` if the text is longer than the encoder reads."""
        ...


@dataclass(frozen=True)
class EncoderFolder:
    """A folder with config.json and safetensors weights. Errors: `ValueError` if it is not one, saying why."""

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            raise ValueError(f"there is no folder {self.path}: expected the folder of a text encoder, as transformers saves it")
        if not (self.path / "config.json").is_file():
            raise ValueError(f"{self.path} is not the folder of an encoder: it has no config.json (expected what `save_pretrained` writes)")
        if not any(self.path.glob("*.safetensors")):
            pickled = sorted(file.name for file in self.path.iterdir() if file.suffix in _PICKLED)
            found = f"it has {', '.join(pickled)}, which are pickles and are never loaded" if pickled else "it has no weights"
            raise ValueError(
                f"{self.path} has no *.safetensors: {found}; save the encoder with `model.save_pretrained(folder, safe_serialization=True)`"
            )

    @property
    def config(self) -> dict[str, Any]:
        """config.json. Errors: `ValueError` if it is none."""
        try:
            facts = read_json(self.path / "config.json")
        except DamagedFile as error:
            raise ValueError(str(error)) from error
        if not isinstance(facts, dict):
            raise ValueError(f"{self.path / 'config.json'} must hold a mapping, it holds a {type(facts).__name__}")
        return facts

    @cached_property
    def fingerprint(self) -> str:
        """Of the content of every file that decides what the encoder says; 32 hexadecimal digits."""
        files = sorted(file for file in self.path.iterdir() if file.is_file() and file.suffix in _DECIDING)
        return hashlib.sha256("".join(f"{file.name} {sha256_of(file)}\n" for file in files).encode()).hexdigest()[:32]
