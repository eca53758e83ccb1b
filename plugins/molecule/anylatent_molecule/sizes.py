"""How many tokens a new molecule gets: drawn from the training set, and from what is asked of its properties."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from anylatent.tokenizers.sizes import Size, asked_sizes
from anylatent_molecule import chemistry, description
from anylatent_molecule.molecule import Molecule

MEASURED = 4000
"""Properties are measured on no more than so many molecules."""
KNOWN = 10
"""Molecules that a word must describe for its weight to be believed."""


def measure(samples: Sequence[Molecule], sizes: Sequence[int]) -> dict[str, Any]:
    """JSON facts: the histogram of sizes, mean and covariance of (properties, size), and what each word of a description adds."""
    values, counts = np.unique(np.asarray(sizes), return_counts=True)
    step = max(1, math.ceil(len(samples) / MEASURED))
    pairs = list(zip(samples, sizes, strict=True))[::step]
    rows = np.array([[*chemistry.properties(sample.mol()).values(), size] for sample, size in pairs])
    covariance = np.cov(rows, rowvar=False, bias=True).reshape(rows.shape[1], rows.shape[1])
    return {
        "sizes": values.tolist(),
        "counts": counts.tolist(),
        "mean": rows.mean(0).tolist(),
        "covariance": covariance.tolist(),
        "told": _told([description.describe(sample.mol()) for sample, _ in pairs], rows[:, -1]),
    }


def _told(captions: Sequence[str], sizes: np.ndarray) -> dict[str, Any]:
    """Size by the words of a description: a ridge regression, and how far it is off (standard deviation, tokens)."""
    counts = Counter(word for caption in captions for word in _words(caption))
    words = sorted(word for word, count in counts.items() if KNOWN <= count < len(captions))
    there = np.array([[word in _words(caption) for word in words] for caption in captions], dtype=float).reshape(len(captions), -1)
    centred = there - there.mean(0)
    weights = np.linalg.solve(centred.T @ centred + np.eye(len(words)), centred.T @ (sizes - sizes.mean()))
    base = float(sizes.mean() - there.mean(0) @ weights)
    spread = float((sizes - base - there @ weights).std())
    return {"words": dict(zip(words, weights.tolist(), strict=True)), "base": base, "spread": spread}


def _words(caption: str) -> set[str]:
    return set(caption.lower().replace(",", " ").split())


def asked(size: Size, rows: int) -> list[int]:
    """The size (tokens) that is asked for, for each row; [] if none is. Errors: `ValueError` if it is less than 1, or several numbers."""
    (count,) = asked_sizes(size, ())
    return [] if count is None else [count] * rows


def draw(facts: Mapping[str, Any], uniforms: Sequence[float], conditions: Sequence[Mapping[str, Any]] | None, least: int = 1) -> list[int]:
    """A size a row, from a uniform number a row, at least `least`.

    Asked nothing, a row draws from the histogram. Asked by a caption in words of `description.describe`, from the normal
    distribution about what they say. Asked for some properties, from the normal distribution of size given
    them: E[n | a] = mu_n + S_na S_aa^-1 (a - mu_a), Var = S_nn - S_na S_aa^-1 S_an, within the sizes seen.
    """
    rows = conditions or [{}] * len(uniforms)
    return [_draw(facts, u, row, least) for u, row in zip(uniforms, rows, strict=True)]


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(row[name]) for name in chemistry.PROPERTIES if isinstance(row.get(name), int | float)}


def _draw(facts: Mapping[str, Any], uniform: float, row: Mapping[str, Any], least: int) -> int:
    sizes, counts = np.asarray(facts["sizes"]), np.asarray(facts["counts"], dtype=float)
    properties = _numbers(row)
    said = _words(row["caption"]) & set(facts["told"]["words"]) if isinstance(row.get("caption"), str) else set()
    if properties:
        centre, spread = _given(facts, properties)
    elif said:
        told = facts["told"]
        centre, spread = told["base"] + sum(told["words"][word] for word in sorted(said)), told["spread"]
    else:
        counts = np.where(sizes >= least, counts, 0.0)
        if not counts.sum():
            return least
        share = counts.cumsum() / counts.sum()
        return int(sizes[min(int(np.searchsorted(share, uniform)), len(sizes) - 1)])
    size = round(centre + spread * NormalDist().inv_cdf(min(max(uniform, 1e-6), 1 - 1e-6)))
    return int(max(least, min(max(size, sizes.min()), sizes.max())))


def _given(facts: Mapping[str, Any], properties: Mapping[str, float]) -> tuple[float, float]:
    """Mean and standard deviation of the size, given some properties."""
    given = [chemistry.PROPERTIES.index(name) for name in properties]
    mean, covariance = np.asarray(facts["mean"]), np.asarray(facts["covariance"])
    known = covariance[np.ix_(given, given)] + 1e-6 * np.eye(len(given))
    weights = np.linalg.solve(known, covariance[given, -1])
    centre = mean[-1] + weights @ (np.array(list(properties.values())) - mean[given])
    return float(centre), math.sqrt(max(covariance[-1, -1] - weights @ covariance[given, -1], 1e-6))
