"""Which features of samples go with which words: canonical correlations (Hotelling 1936), weighted by what held-out records confirm."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch

from anylatent.types import Float, Tensor

_BUCKETS = 2048
_PARTS = 4
"""Every fourth record is not fitted but used to see which correlations are real."""


def hashed(texts: Sequence[str]) -> Float[Tensor, "texts buckets"]:
    """Counts of words, of pairs of words and of four letters within words, in hashed buckets; rows of length 1, float64."""
    counts = torch.zeros(len(texts), _BUCKETS, dtype=torch.float64)
    for row, text in enumerate(texts):
        for part in _parts(text):
            counts[row, zlib.crc32(part.encode("utf-8", "surrogatepass")) % _BUCKETS] += 1
    return counts / counts.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _parts(text: str) -> list[str]:
    words = text.lower().split()
    pairs = [f"{one} {other}" for one, other in pairwise(words)]
    letters = [f"#{bounded[at : at + 4]}" for bounded in (f"<{word}>" for word in words) for at in range(len(bounded) - 3)]
    return [*words, *pairs, *letters]


@dataclass(frozen=True)
class _Whitening:
    """To the leading principal directions, each with variance 1 on what it was fitted to."""

    mean: Float[Tensor, " numbers"]
    scale: Float[Tensor, " numbers"]
    directions: Float[Tensor, "numbers kept"]

    @classmethod
    def of(cls, x: Float[Tensor, "n numbers"], rank: int) -> Self:
        scale = x.std(0)
        varies = scale > 1e-9  # of the buckets of hashed words most are empty
        scale = torch.where(varies, scale, torch.ones_like(scale))
        _, sizes, found = torch.linalg.svd(((x - x.mean(0)) / scale)[:, varies], full_matrices=False)
        kept = min(rank, int((sizes > 1e-6 * sizes.amax()).sum())) if len(sizes) else 0
        directions = x.new_zeros(x.shape[1], kept)
        directions[varies] = found[:kept].T * (len(x) - 1) ** 0.5 / sizes[:kept]
        return cls(x.mean(0), scale, directions)

    def __call__(self, x: Float[Tensor, "n numbers"]) -> Float[Tensor, "n kept"]:
        return ((x - self.mean) / self.scale) @ self.directions


@dataclass(frozen=True)
class Probe:
    """Features and captions in the same coordinates; `weights`: the correlation of each on records that were not fitted."""

    seen: _Whitening
    read: _Whitening
    seen_to: Float[Tensor, "features coordinates"]
    read_to: Float[Tensor, "buckets coordinates"]
    weights: Float[Tensor, " coordinates"]
    note: str

    def similarity(self, vectors: Float[Tensor, "samples features"], texts: Sequence[str]) -> Float[Tensor, "samples texts"]:
        """Cosine of each sample and each text in the weighted coordinates (as Gong et al. 2014, 1212.4522, section 3.3)."""
        distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        a = self.weights * (self.seen(vectors) @ self.seen_to)
        b = self.weights * (self.read(hashed(list(distinct))) @ self.read_to)
        cosines = torch.nn.functional.normalize(a, dim=1) @ torch.nn.functional.normalize(b, dim=1).T
        return cosines[:, [distinct[text] for text in texts]]


def fit(vectors: Float[Tensor, "records features"], texts: Sequence[str], rank: int) -> Probe:
    """A probe of training records. With `rank` above an eighth of the records, that eighth: more directions would be fitted to noise."""
    count = len(texts)
    held_out = torch.arange(count) % _PARTS == _PARTS - 1
    x, y = vectors.double(), hashed(texts)
    rank = min(rank, max(1, int((~held_out).sum()) // 8))
    seen, read = _Whitening.of(x[~held_out], rank), _Whitening.of(y[~held_out], rank)
    a, b = seen(x), read(y)
    left, _, right = torch.linalg.svd(a[~held_out].T @ b[~held_out] / count, full_matrices=False)
    correlations = _correlations((a @ left)[held_out], (b @ right.T)[held_out])
    # What two unrelated columns of this length reach in one case of twenty is no evidence.
    weights = torch.where(correlations > 2 / int(held_out.sum()) ** 0.5, correlations, torch.zeros_like(correlations))
    found, best = int((weights > 0).sum()), float(weights.amax()) if len(weights) else 0.0
    note = f"probe of {count:,} training records: {found} of {len(weights)} correlations hold, the best {best:.2f}"
    return Probe(seen, read, left, right.T, weights, note)


def _correlations(a: Float[Tensor, "n coordinates"], b: Float[Tensor, "n coordinates"]) -> Float[Tensor, " coordinates"]:
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0)).clamp(min=1e-12)


@dataclass(frozen=True)
class Fit:
    """How each sample fits its own caption, and the others'."""

    agreed: Float[Tensor, " samples"]
    found: Float[Tensor, " samples"]
    own: Float[Tensor, " samples"]
    shuffled: Float[Tensor, " samples"]

    @classmethod
    def of(cls, scores: Float[Tensor, "samples captions"], texts: Sequence[str], among: int) -> Self:
        """`scores[i, j]`: of sample i and the caption of sample j; -inf in the row of a sample that is nothing."""
        number = {text: place for place, text in enumerate(sorted(set(texts)))}
        which = torch.tensor([number[text] for text in texts])
        other = which[:, None] != which
        own = scores.diagonal()[:, None]
        there = scores.isfinite().all(1)
        better = (scores < own).double() + 0.5 * (scores == own).double()
        agreed = (better * other).sum(1) / other.sum(1).clamp(min=1)
        first = torch.tensor([texts.index(text) for text in number])
        ahead = ((scores[:, first] >= own) & (which[:, None] != which[first])).sum(1)
        finite = scores.masked_fill(~there[:, None], 0)
        return cls(
            agreed=torch.where(there, agreed, torch.zeros_like(agreed)),
            found=torch.where(there, _best_of(len(number) - 1, ahead, among - 1), torch.zeros_like(agreed)),
            own=finite.diagonal(),
            shuffled=(finite.sum(1) - finite.diagonal()) / (len(texts) - 1),
        )


def _best_of(others: int, ahead: Tensor, drawn: int) -> Float[Tensor, " samples"]:
    """The chance that none of the `ahead` better ones is among `drawn` of `others` (hypergeometric): no luck of one draw."""
    chance = torch.ones(len(ahead), dtype=torch.float64)
    for number in range(drawn):
        chance = chance * ((others - ahead - number).clamp(min=0) / (others - number))
    return chance
