"""Are two sets of clouds alike? Matching distance, coverage and two-sample tests, beside simple baselines."""

from typing import Annotated, ClassVar

from pydantic import Field

from anylatent.data import Dataset
from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Measure, Metric, TooFewSamples
from anylatent.metrics.intervals import mean_interval, wilson
from anylatent.random import seed_of
from anylatent.types import Bool, Float, Tensor
from anylatent_points.distances import Distance, among, between, thinned

Noise = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SetDistance(Metric, kind="points.sets"):
    """Minimum matching distance, coverage and 1-NN accuracy of as many samples as held-out clouds (Yang et al. 2019, 1906.12320).

    `mmd`: mean distance of a held-out cloud to the nearest sample. `coverage`: share of held-out clouds that are the
    nearest of some sample. `1-nna`: how often the nearest other cloud is of the same set, samples or held-out; 50 % if nobody can
    tell them apart. The floors are those of training clouds in the samples' place.

    With `baselines`, the same of simple generators of as many clouds: `resampled-S` (a training cloud's points drawn again
    with replacement, plus normal noise of S, for each S of `noise`), and `gaussian` (the normal distribution of all points of
    a category; of all clouds, where there is no `category`). The resampled one copies: with less noise it comes as near to
    the floor as one likes, so what says something is the noise at which it is no better than the samples.
    """

    min_n: ClassVar[int] = 10

    distance: Distance = Field(default="chamfer", description="Between two clouds: chamfer, or earth-mover (exact, slow).")
    limit: int = Field(default=150, ge=10, description="Clouds of each set to compare at most.")
    points: int = Field(default=128, ge=8, description="Points of a cloud that are compared, chosen evenly.")
    baselines: bool = Field(default=True, description="Measure the simple generators too.")
    noise: tuple[Noise, ...] = Field(default=(0.05, 0.1), description="Of each baseline `resampled`: standard deviation a coordinate.")
    condition: str = Field(default="category", description="Which condition the Gaussian baseline goes by.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        """Errors: `TooFewSamples`; `ValueError` for samples with fewer points than are to be compared."""
        self.require(len(evidence.samples))
        if len(evidence.test) < self.min_n:
            raise TooFewSamples(f"{self.kind} needs at least {self.min_n} held-out clouds, the test split has {len(evidence.test)}")
        count = min(self.limit, len(evidence.samples), len(evidence.test))
        real = self._clouds([evidence.test[i].sample.points for i in _some(len(evidence.test), count, "held-out")])
        to_real = among(real, self.distance)
        floor = self._facts(self._clouds(_training(evidence.train, count)), real, to_real)
        # In the order of their content, not as they came: which are compared, and what is measured, is of the set alone.
        ordered = sorted((sample.points for sample in evidence.samples), key=lambda points: points.flatten()[:12].tolist())
        ours = self._facts(self._clouds([ordered[i] for i in _some(len(ordered), count, "samples")]), real, to_real)
        fingerprint = f"{evidence.test.fingerprint()}:{self.key()}"
        found = self._measures("", ours, evidence.seed, fingerprint, floor)
        if self.baselines:
            for name, (clouds, how) in self._simple(evidence, count).items():
                facts = self._facts(self._clouds(clouds), real, to_real)
                found += self._measures(f" of {name}", facts, evidence.seed, fingerprint, floor, how)
        return found

    def _clouds(self, clouds: "list[Tensor]") -> Float[Tensor, "clouds points 3"]:
        return thinned(clouds, self.points)

    def _facts(self, clouds: Tensor, real: Tensor, to_real: Tensor) -> "tuple[Tensor, Tensor, Tensor]":
        """Distance of each held-out cloud to the nearest of `clouds`; whether it is some one's nearest; the hits of 1-NN."""
        across = between(clouds, real, self.distance)
        covered = torch.zeros(len(real), dtype=torch.bool)
        covered[across.argmin(1)] = True
        return across.amin(0), covered, same_set(among(clouds, self.distance), across, to_real)

    def _measures(
        self, whose: str, facts: "tuple[Tensor, Tensor, Tensor]", seed: int, fingerprint: str, floor, how: str = ""
    ) -> list[Measure]:
        nearest, covered, hits = facts
        count = len(nearest)
        note = f"{how}{count} against {count} held-out clouds, {self.points} points each"
        name, low_high = self.distance, mean_interval(nearest, seed)
        return [
            Measure(f"{name}-mmd{whose}", float(nearest.mean()), *low_high, count, "lower", float(floor[0].mean()), fingerprint, note),
            _share(f"{name}-coverage{whose}", covered, count, "higher", floor[1], fingerprint, note),
            _share(f"{name}-1-nna{whose}", hits, count, "lower", floor[2], fingerprint, f"50 % is best; {note}"),
        ]

    def _simple(self, evidence: Evidence, count: int) -> "dict[str, tuple[list[Tensor], str]]":
        """As many clouds of generators that know no shapes, in the proportions of the training set's categories, and how each is made."""
        from anylatent import random

        chosen = [evidence.train[i] for i in _some(len(evidence.train), count, "baselines")]
        by_kind: dict[str, list[Tensor]] = {}
        for record in chosen:
            by_kind.setdefault(str(record.conditions.get(self.condition)), []).append(record.sample.points)
        moments = {kind: _moments(torch.cat(clouds)) for kind, clouds in by_kind.items()}
        again, noises, gaussian = [], [], []
        for index, record in enumerate(chosen):
            points = record.sample.points
            seed = torch.tensor([seed_of("baseline", evidence.seed, index)])
            drawn = (random.uniform(seed, "points", 0, 0, len(points))[0].double() * len(points)).long()
            again.append(points[drawn])
            noises.append(random.normal(seed, "noise", 0, 0, len(points), 3)[0])
            mean, root = moments[str(record.conditions.get(self.condition))]
            gaussian.append(mean + random.normal(seed, "gaussian", 0, 0, len(points), 3)[0] @ root.T)
        found = {
            f"resampled-{level:g}": (
                [points + level * noise for points, noise in zip(again, noises, strict=True)],
                f"training clouds, points drawn again with replacement, plus noise of {level:g}; ",
            )
            for level in self.noise
        }
        return found | {"gaussian": (gaussian, "the normal distribution of a category's points; ")}


def same_set(ours: Float[Tensor, "n n"], across: Float[Tensor, "n m"], real: Float[Tensor, "m m"]) -> Bool[Tensor, " n_and_m"]:
    """Leave-one-out 1-NN (Lopez-Paz & Oquab 2017, 1610.06545): whether the nearest other cloud of each is of its own set."""
    mine = ours.amin(1) < across.amin(1)
    theirs = real.amin(1) < across.amin(0)
    return torch.cat((mine, theirs))


def _share(name: str, hits: Tensor, count: int, better, floor: Tensor, fingerprint: str, note: str) -> Measure:
    low, high = wilson(int(hits.sum()), len(hits))
    share, real = float(hits.double().mean()), float(floor.double().mean())
    return Measure(name, share, min(low, share), max(high, share), count, better, real, fingerprint, note)


def _moments(points: Float[Tensor, "points 3"]) -> "tuple[Tensor, Tensor]":
    """Mean and a square root of the covariance."""
    covariance = torch.cov(points.T.double()) + 1e-9 * torch.eye(3, dtype=torch.float64)
    return points.mean(0), torch.linalg.cholesky(covariance).float()


def _training(train: Dataset, count: int) -> "list[Tensor]":
    """Training clouds for the floor: real ones in the samples' place."""
    return [train[i].sample.points for i in _some(len(train), count, "floor")]


def _some(size: int, count: int, what: str) -> list[int]:
    """`count` of `range(size)`, drawn by name without replacement; all of them, again and again, if there are fewer."""
    from anylatent import random

    order = random.uniform(torch.tensor([seed_of("points.sets", what)]), "order", 0, 0, size)[0].argsort().tolist()
    return [order[i % size] for i in range(count)]
