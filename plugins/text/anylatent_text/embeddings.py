"""What a frozen encoder says of texts: computed once, kept on disk by text and encoder."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from anylatent.files import cache_folder, digest_of, write_tensors
from anylatent.types import Tensor
from anylatent_text.encoder_folder import EncoderFolder, TextEncoder

_VERSION = 1
"""Raised when the same encoder would be asked in another way."""


class Embeddings:
    """Token states `(tokens, width)` of texts, or their mean `(width,)`, float32 on the CPU.

    A text is encoded alone, so that its embedding depends on nothing else. The encoder is loaded when a text is new.
    """

    def __init__(self, folder: EncoderFolder, load: Callable[[EncoderFolder], TextEncoder], mean: bool) -> None:
        self._folder, self._load, self._mean = folder, load, mean
        self._encoder: TextEncoder | None = None
        self._known: dict[str, Tensor] = {}
        self._read: set[Path] = set()
        self.computed = 0
        """Texts that the encoder had to read."""

    @property
    def shelf(self) -> Path:
        """Where embeddings of this encoder are kept."""
        return cache_folder() / "text" / f"{self._folder.fingerprint}-{'mean' if self._mean else 'states'}-{_VERSION}"

    def of(self, texts: Sequence[str], device: torch.device) -> list[Tensor]:
        """One a text. Errors: `ValueError` for a text that the encoder does not take; see the encoder's for broken folders."""
        keys = {text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32] for text in texts}
        if any(key not in self._known for key in keys.values()):
            self._read_shelf()
        new = {key: self._encode(text, device) for text, key in keys.items() if key not in self._known}
        if new:
            self._known |= new
            path = write_tensors(self.shelf / f"{digest_of(*sorted(new))}.safetensors", new)
            self._read.add(path)
        return [self._known[keys[text]] for text in texts]

    def _encode(self, text: str, device: torch.device) -> Tensor:
        if self._encoder is None:
            self._encoder = self._load(self._folder)
        self.computed += 1
        states = self._encoder.states(text, device).cpu()
        return states.mean(0) if self._mean else states

    def _read_shelf(self) -> None:
        """Files that other processes wrote in the meantime too; a damaged one is removed: what it held is computed again."""
        for path in sorted(set(self.shelf.glob("*.safetensors")) - self._read):
            self._read.add(path)
            try:
                with safe_open(path, "pt") as file:
                    self._known |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            except (SafetensorError, OSError):
                path.unlink(missing_ok=True)
