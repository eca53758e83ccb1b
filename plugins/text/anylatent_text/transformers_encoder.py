"""Any text encoder that transformers can open, from a folder alone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from anylatent.types import Float, Tensor
from anylatent_text.encoder_folder import EncoderFolder


class TransformersEncoder:
    """An encoder and its tokenizer. Of models with several towers (T5, CLIP) the one that reads text."""

    def __init__(self, folder: EncoderFolder) -> None:
        """Errors: `ValueError` if transformers is missing or broken, or cannot make a text encoder of the folder."""
        self.folder = folder
        with _torchaudio_hidden_if_broken():
            try:
                from transformers import AutoModel, AutoTokenizer  # pyright: ignore[reportMissingImports]
            except ImportError as error:
                raise ValueError(f"text.encoder needs transformers ({error}): pip install 'anylatent-text[encoders]'") from error
            except Exception as error:
                raise ValueError(f"transformers cannot be imported: {error}; reinstall it with packages of one build of torch") from error
            try:
                self.tokenizer = AutoTokenizer.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
                model, loading = AutoModel.from_pretrained(
                    folder.path, local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True
                )
            # Of a folder that is not what it should be, transformers raises whatever its parts do.
            except Exception as error:
                raise ValueError(f"transformers cannot open {folder.path} as an encoder: {error or type(error).__name__}") from error
        missing = sorted(name for name in loading["missing_keys"] if "pooler" not in name)
        if missing:
            raise ValueError(f"the weights in {folder.path} are not whole: {missing[0]} is missing ({len(missing)} in all)")
        self.model = _text_tower(model).eval().requires_grad_(False)

    @torch.no_grad()
    def states(self, text: str, device: torch.device) -> Float[Tensor, "tokens width"]:
        """The last layer's state of each token. Errors: `ValueError` if the text has more tokens than the encoder reads."""
        inputs = self.tokenizer(text, return_tensors="pt", add_special_tokens=True, verbose=False).to(device)
        count, longest = inputs["input_ids"].shape[1], self._longest()
        if count > longest:
            raise ValueError(f"the text {text[:40]!r}… has {count} tokens, {self.folder.path} reads at most {longest}: shorten it")
        names = ("input_ids", "attention_mask")
        return self.model.to(device)(**{name: inputs[name] for name in names}).last_hidden_state[0].float()

    def _longest(self) -> int:
        """By the tokenizer, which says a huge number if it does not know, and by the table of positions."""
        positions = getattr(self.model.config, "max_position_embeddings", None) or self.tokenizer.model_max_length
        return min(self.tokenizer.model_max_length, positions)


def _text_tower(model: Any) -> Any:
    if getattr(model, "text_model", None) is not None:
        return model.text_model
    return model.get_encoder() if model.config.is_encoder_decoder else model


@contextmanager
def _torchaudio_hidden_if_broken() -> Iterator[None]:
    """transformers imports torchaudio where it is installed, and dies if that is of another build than torch: hide such a one.

    A torchaudio that works, or that somebody imported before, is left alone.
    """
    if "torchaudio" in sys.modules or _imports("torchaudio"):
        yield
        return
    sys.modules["torchaudio"] = None  # pyright: ignore[reportArgumentType] (the import system's sign for "not there")
    try:
        yield
    finally:
        del sys.modules["torchaudio"]


def _imports(name: str) -> bool:
    try:
        __import__(name)
    # A library of another build raises OSError, its absence ImportError; others are possible.
    except Exception:
        return False
    return True
