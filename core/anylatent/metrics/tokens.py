"""A sample's tokens, summarised, as its feature vector."""

from collections.abc import Sequence
from typing import Any

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Features
from anylatent.types import Float, Tensor

_AT_ONCE = 64


class TokenFeatures(Features, kind="tokens"):
    """Mean and standard deviation of each channel over a sample's tokens, by stream: of any modality and any size.

    What the run's tokenizer does not see, they do not either: numbers of one tokenizer only compare with each other.
    """

    def compute(self, samples: Sequence[Any], evidence: Evidence) -> Float[Tensor, "samples features"]:
        """Errors: `ValueError` without a tokenizer, or for a sample that it cannot tokenize."""
        if evidence.tokenizer is None:
            raise ValueError("features 'tokens' need the run's tokenizer: judge by Run.evaluate")
        rows = []
        for first in range(0, len(samples), _AT_ONCE):
            with torch.no_grad():
                state = evidence.tokenizer.encode(list(samples[first : first + _AT_ONCE]))
            parts = []
            for stream in state.streams.values():
                there = stream.mask[..., None].float()
                count = there.sum(1).clamp(min=1)
                mean = (stream.values * there).sum(1) / count
                spread = (((stream.values - mean[:, None]) ** 2 * there).sum(1) / count).sqrt()
                parts += [mean, spread]
            rows.append(torch.cat(parts, 1))
        return torch.cat(rows)

    def fingerprint(self, evidence: Evidence) -> str:
        return "tokens" if evidence.tokenizer is None else evidence.tokenizer.fingerprint()
