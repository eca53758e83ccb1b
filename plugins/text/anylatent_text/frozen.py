"""Captions by a frozen encoder and a trained projection."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from anylatent.condition import TokenSet
from anylatent.conditioners.base import Conditioner
from anylatent.conditioners.config import ConditionerConfig
from anylatent.nn.layers import Linear
from anylatent.types import Tensor
from anylatent_text.embeddings import Embeddings
from anylatent_text.encoder_folder import EncoderFolder, TextEncoder
from anylatent_text.texts import checked


class FrozenConditioner(Conditioner):
    """Embeddings of a pretrained encoder, normalised, through a two-layer perceptron; a learned null.

    The encoder's weights are no part of this module: checkpoints hold the projection, `examples` the encoder's fingerprint.
    """

    def __init__(
        self,
        config: ConditionerConfig,
        width: int,
        values: Sequence[Any],
        folder: EncoderFolder,
        load: Callable[[EncoderFolder], TextEncoder],
    ) -> None:
        """`values`: training texts, all embedded now, or `examples`. Errors: `ValueError` if the encoder is not the one of `examples`."""
        super().__init__(config)
        self.embeddings = Embeddings(folder, load, config.slot == "global")
        given = self._recorded(values, folder)
        self.examples = [{"encoder": folder.fingerprint, "width": given}]
        self.project = nn.Sequential(Linear(given, width, "embed"), nn.SiLU(), Linear(width, width, "embed"))
        self.null = nn.Parameter(0.02 * torch.randn(width))

    def _recorded(self, values: Sequence[Any], folder: EncoderFolder) -> int:
        """The width of embeddings: recorded when a run was made, or seen on the training texts."""
        facts = next((value for value in values if isinstance(value, Mapping) and "encoder" in value), None)
        if facts is not None:
            if facts["encoder"] != folder.fingerprint:
                raise ValueError(
                    f"this run was made with the text encoder {facts['encoder'][:12]}, but {folder.path} holds "
                    f"{folder.fingerprint[:12]}: put the encoder back that it was trained with, or train again"
                )
            return int(facts["width"])
        texts = sorted({checked(value) for value in values if value is not None})
        if not texts:
            raise ValueError("a caption needs a training set with texts, given none")
        return self.embeddings.of(texts, torch.get_default_device())[0].shape[-1]

    def forward(self, raw: Sequence[Any | None]) -> Tensor | TokenSet:
        device = self.null.device
        texts = sorted({checked(value) for value in raw if value is not None})
        known = dict(zip(texts, self.embeddings.of(texts, device), strict=True))
        if self.config.slot == "global":
            blank = torch.zeros(self.examples[0]["width"])
            mean = torch.stack([blank if value is None else known[value] for value in raw]).to(device)
            empty = torch.tensor([value is None for value in raw], device=device)
            return torch.where(empty[:, None], self.null, self._projected(mean))
        blank = torch.zeros(1, self.examples[0]["width"])
        rows = [blank if value is None else known[value] for value in raw]
        sizes = torch.tensor([len(row) for row in rows], device=device)
        states = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        mask = torch.arange(states.shape[1], device=device)[None] < sizes[:, None]
        empty = torch.tensor([value is None for value in raw], device=device)
        return TokenSet(torch.where(empty[:, None, None], self.null, self._projected(states)), mask)

    def _projected(self, embeddings: Tensor) -> Tensor:
        """Normalised first: encoders differ by orders of magnitude in the size of their numbers."""
        return self.project(nn.functional.layer_norm(embeddings, embeddings.shape[-1:]))
