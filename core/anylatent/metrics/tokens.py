"""A sample's tokens, summarised, as its feature vector."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Features
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer

_AT_ONCE = 64


class TokenFeatures(Features, kind="tokens"):
    """Mean and standard deviation of each channel over a sample's tokens, by stream: of any modality and any size.

    What the run's tokenizer does not see, they do not either: numbers of one tokenizer only compare with each other. A sample
    that it refuses (of something that no training sample has) stands at 0, where tokens are all at their mean.
    """

    def compute(self, samples: Sequence[Any], evidence: Evidence) -> Float[Tensor, "samples features"]:
        """Errors: `ValueError` without a tokenizer."""
        if evidence.tokenizer is None:
            raise ValueError("features 'tokens' need the run's tokenizer: judge by Run.evaluate")
        with torch.no_grad():
            chunks = [list(samples[first : first + _AT_ONCE]) for first in range(0, len(samples), _AT_ONCE)]
            return torch.cat([row for chunk in chunks for row in _summaries(evidence.tokenizer, chunk)])

    def fingerprint(self, evidence: Evidence) -> str:
        return "tokens" if evidence.tokenizer is None else evidence.tokenizer.fingerprint()


def _summaries(tokenizer: "Tokenizer", samples: list[Any]) -> "list[Tensor]":
    """One `(1, features)` a sample; those of a batch that holds a refused sample are made one by one."""
    try:
        return list(_summary(tokenizer.encode(samples)).split(1))
    except ValueError:
        if len(samples) > 1:
            return [row for sample in samples for row in _summaries(tokenizer, [sample])]
        return [torch.zeros(1, 2 * sum(spec.width for spec in tokenizer.specs))]


def _summary(state: "State") -> "Tensor":
    parts = []
    for stream in state.streams.values():
        there = stream.mask[..., None].float()
        count = there.sum(1).clamp(min=1)
        mean = (stream.values * there).sum(1) / count
        spread = (((stream.values - mean[:, None]) ** 2 * there).sum(1) / count).sqrt()
        parts += [mean, spread]
    return torch.cat(parts, 1)
