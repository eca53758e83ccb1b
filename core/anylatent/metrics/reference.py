"""Generated samples beside real ones of the same number, in a feature space: what every set metric compares."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anylatent.data import Dataset
from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Features, TooFewSamples
from anylatent.types import Float, Tensor


@dataclass(frozen=True)
class Comparison:
    """Feature vectors, float64. `generated` and `probe`, real samples in their place, have n rows; `reference`: other real samples.

    What `probe` reaches against `reference` is the floor of what `generated` can: same sizes, same reference.
    """

    generated: Float[Tensor, "n features"]
    probe: Float[Tensor, "n features"]
    reference: Float[Tensor, "m features"]
    fingerprint: str
    """Of the feature network and the real samples."""
    note: str


def features_of(features: Features, samples: Sequence[Any], evidence: Evidence) -> Float[Tensor, "samples features"]:
    """Feature vectors in double: distances of near copies vanish in the rounding of a float.

    Errors: `ValueError` if a vector is not finite.
    """
    vectors = features.compute(samples, evidence).detach().cpu().double()
    broken = (~vectors.isfinite().all(1)).nonzero()
    if len(broken):
        raise ValueError(f"features '{features.kind}' of sample {int(broken[0])} are not finite ({len(broken)} of {len(vectors)} samples)")
    return vectors


def compare(features: Features, evidence: Evidence, min_n: int, limit: int, even: bool = False) -> Comparison:
    """Real samples are train and test together, shuffled by the evidence's seed, at most `limit` of them.

    Of R real samples n = min(generated, R // 2) become the probe and the others the reference (`even`: n of them);
    generated samples beyond n are not judged, as no floor is known for them. Errors: `TooFewSamples` if n < `min_n`.
    """
    real = _shuffled((evidence.train, evidence.test), limit, evidence.seed)
    n = min(len(evidence.samples), len(real) // 2)
    if n < min_n:
        raise TooFewSamples(
            f"a comparison with real samples needs at least {min_n} generated and {2 * min_n} real ones, "
            f"given {len(evidence.samples)} and {len(real)}"
        )
    vectors = features_of(features, real[: 2 * n] if even else real, evidence)
    beyond = f" (of {len(evidence.samples):,}: as many as half of the {len(real):,} real ones)" if n < len(evidence.samples) else ""
    return Comparison(
        generated=features_of(features, list(evidence.samples)[:n], evidence),
        probe=vectors[:n],
        reference=vectors[n:],
        fingerprint=_fingerprint(features, evidence),
        note=f"on {features.kind} features: {n:,} samples{beyond} against {len(vectors) - n:,} real ones",
    )


def _shuffled(datasets: Sequence[Dataset], limit: int, seed: int) -> list[Any]:
    from anylatent.random import seed_of, uniform

    places = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
    keys = uniform(torch.tensor([seed_of("reference", seed)]), "reference", 0, 0, len(places))[0] if places else torch.zeros(0)
    return [dataset[index].sample for dataset, index in (places[i] for i in keys.argsort(stable=True).tolist()[:limit])]


def _fingerprint(features: Features, evidence: Evidence) -> str:
    parts = (features.key(), features.fingerprint(evidence), evidence.train.fingerprint(), evidence.test.fingerprint(), str(evidence.seed))
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
