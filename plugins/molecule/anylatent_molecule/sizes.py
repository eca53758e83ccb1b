"""How many tokens a new molecule gets: drawn from the training set, and from what is asked of its properties."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from anylatent_molecule import chemistry
from anylatent_molecule.molecule import Molecule

MEASURED = 4000
"""Properties are measured on no more than so many molecules."""


def measure(samples: Sequence[Molecule], sizes: Sequence[int]) -> dict[str, Any]:
    """JSON facts: the histogram of sizes, and mean and covariance of (properties, size)."""
    values, counts = np.unique(np.asarray(sizes), return_counts=True)
    step = max(1, math.ceil(len(samples) / MEASURED))
    rows = np.array([[*chemistry.properties(s.mol()).values(), size] for s, size in list(zip(samples, sizes, strict=True))[::step]])
    covariance = np.cov(rows, rowvar=False, bias=True).reshape(rows.shape[1], rows.shape[1])
    return {
        "sizes": values.tolist(),
        "counts": counts.tolist(),
        "mean": rows.mean(0).tolist(),
        "covariance": covariance.tolist(),
    }


def asked(size: int | None, rows: int) -> list[int]:
    """The size that is asked for, for each row; [] if none is. Errors: `ValueError` if it is less than 1."""
    if size is not None and size < 1:
        raise ValueError(f"a molecule's size must be at least 1 token, given {size}")
    return [] if size is None else [size] * rows


def draw(facts: Mapping[str, Any], uniforms: Sequence[float], conditions: Sequence[Mapping[str, Any]] | None, least: int = 1) -> list[int]:
    """A size a row, from a uniform number a row, at least `least`.

    Asked nothing, a row draws from the histogram. Asked for some properties, from the normal distribution of size given
    them: E[n | a] = mu_n + S_na S_aa^-1 (a - mu_a), Var = S_nn - S_na S_aa^-1 S_an, within the sizes seen.
    """
    rows = conditions or [{}] * len(uniforms)
    return [_draw(facts, u, _numbers(row), least) for u, row in zip(uniforms, rows, strict=True)]


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(row[name]) for name in chemistry.PROPERTIES if isinstance(row.get(name), int | float)}


def _draw(facts: Mapping[str, Any], uniform: float, properties: Mapping[str, float], least: int) -> int:
    sizes, counts = np.asarray(facts["sizes"]), np.asarray(facts["counts"], dtype=float)
    if not properties:
        counts = np.where(sizes >= least, counts, 0.0)
        if not counts.sum():
            return least
        share = counts.cumsum() / counts.sum()
        return int(sizes[min(int(np.searchsorted(share, uniform)), len(sizes) - 1)])
    given = [chemistry.PROPERTIES.index(name) for name in properties]
    mean, covariance = np.asarray(facts["mean"]), np.asarray(facts["covariance"])
    known = covariance[np.ix_(given, given)] + 1e-6 * np.eye(len(given))
    weights = np.linalg.solve(known, covariance[given, -1])
    centre = mean[-1] + weights @ (np.array(list(properties.values())) - mean[given])
    spread = math.sqrt(max(covariance[-1, -1] - weights @ covariance[given, -1], 1e-6))
    size = round(centre + spread * NormalDist().inv_cdf(min(max(uniform, 1e-6), 1 - 1e-6)))
    return int(max(least, min(max(size, sizes.min()), sizes.max())))
