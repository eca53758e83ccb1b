"""BERT's encoder (Devlin et al. 2018, 1810.04805) for inference: what MiniLM needs, without transformers."""

from typing import Any

import torch
from torch.nn import functional as F

from anylatent.files import DamagedFile, read_tensors
from anylatent.types import Float, Tensor
from anylatent_text.encoder_folder import EncoderFolder

_LONGEST = 256
"""Tokens that MiniLM was trained to read."""


class Bert:
    """The post-norm transformer that model.safetensors and config.json of a folder describe, with the tokenizer of tokenizer.json."""

    def __init__(self, folder: EncoderFolder) -> None:
        """Errors: `ValueError` names the file that is missing, damaged, or of another kind of encoder."""
        self.folder = folder
        facts = folder.config
        expected = {"model_type": "bert", "hidden_act": "gelu"}
        wrong = {key: facts.get(key) for key, value in expected.items() if facts.get(key) != value}
        if wrong:
            raise ValueError(f"{folder.path / 'config.json'} says {wrong}, expected {expected}: this is another encoder")
        self.tokenizer = _tokenizer(folder)
        try:
            self.weights = read_tensors(folder.path / "model.safetensors")
        except (DamagedFile, FileNotFoundError) as error:
            raise ValueError(str(error)) from error
        self.depth, self.heads, self.eps = facts["num_hidden_layers"], facts["num_attention_heads"], facts["layer_norm_eps"]

    @torch.no_grad()
    def states(self, text: str, device: torch.device) -> Float[Tensor, "tokens width"]:
        """The last layer's state of each token, [CLS] and [SEP] with them. Errors: `ValueError` for more than 256 tokens."""
        ids = torch.tensor(self.tokenizer.encode(text).ids, device=device)
        if len(ids) > _LONGEST:
            raise ValueError(f"the text {text[:40]!r}… has {len(ids)} tokens, MiniLM reads at most {_LONGEST}: shorten it")
        if self.weights["embeddings.word_embeddings.weight"].device != device:
            self.weights = {name: weight.to(device) for name, weight in self.weights.items()}
        x = self.weights["embeddings.word_embeddings.weight"][ids]
        x = (
            x
            + self.weights["embeddings.token_type_embeddings.weight"][0]
            + self.weights["embeddings.position_embeddings.weight"][: len(ids)]
        )
        x = self._norm(x, "embeddings.LayerNorm")
        for number in range(self.depth):
            layer = f"encoder.layer.{number}."
            x = self._norm(x + self._attention(x, layer + "attention."), layer + "attention.output.LayerNorm")
            hidden = F.gelu(self._linear(x, layer + "intermediate.dense"))
            x = self._norm(x + self._linear(hidden, layer + "output.dense"), layer + "output.LayerNorm")
        return x

    def _attention(self, x: Float[Tensor, "tokens width"], name: str) -> Float[Tensor, "tokens width"]:
        q, k, v = (
            self._linear(x, f"{name}self.{part}").unflatten(-1, (self.heads, -1)).transpose(0, 1) for part in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(q[None], k[None], v[None])[0]
        return self._linear(mixed.transpose(0, 1).flatten(1), name + "output.dense")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weights[name + ".weight"], self.weights[name + ".bias"], self.eps)


def _tokenizer(folder: EncoderFolder) -> Any:
    """Without the padding and cutting that the file asks for."""
    try:
        from tokenizers import Tokenizer  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(f"text.minilm needs the package tokenizers ({error}): pip install 'anylatent-text[encoders]'") from error
    path = folder.path / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"{folder.path} has no tokenizer.json")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
