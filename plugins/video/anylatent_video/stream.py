"""STREAM: how natural clips are in time, and how true and various in space, apart from each other."""

from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Measure, Metric, TooFewSamples
from anylatent.metrics.intervals import bootstrap, wilson
from anylatent.metrics.precision_recall import covered
from anylatent.random import seed_of, uniform
from anylatent.types import Float, Tensor
from anylatent_video.features import ClipFeatures

_BINS = 50
_TINY = 1e-6


class Stream(Metric, kind="video.stream"):
    """STREAM-T, STREAM-F and STREAM-D: how clips change in time, and what they show, judged apart.

    Each frame is embedded alone, and each channel of the embedding is a signal in time with an amplitude spectrum. Its mean
    (frequency 0) says what is shown, the skewness of the power law that fits the other frequencies how it changes.

    - STREAM-T: over channels, the mean squared correlation of the histograms (50 bins) of skewness, generated against real.
    - STREAM-F, STREAM-D: improved precision and recall (k = 5) of the mean signals.

    All are at most 1, higher is better. The numbers depend on the embedding, here a small one trained on the recipe's data: compare
    runs of one recipe's data with each other. `floor` is what as many real clips reach. Source: Kim et al. 2024, "STREAM:
    Spatio-TempoRal Evaluation and Analysis Metric for Video Generative Models", ICLR.
    """

    min_n: ClassVar[int] = 20

    features: ClipFeatures = ClipFeatures.model_validate({})
    neighbours: int = Field(default=5, ge=1, le=9, description="k of precision and recall.")
    rounds: int = Field(default=50, ge=20, description="Bootstrap rounds of STREAM-T's interval.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        """Three measures. Errors: `TooFewSamples`, also of real clips; `ValueError` if clips are too short."""
        self.require(len(evidence.samples))
        real = _shuffled(evidence)
        n = min(len(evidence.samples), len(real) // 2)
        if n < self.min_n:
            raise TooFewSamples(f"{self.kind} needs at least {2 * self.min_n} real clips, given {len(real)}")
        made, probe, reference = (
            spectrum(self.features.frames(clips, evidence)) for clips in (list(evidence.samples)[:n], real[:n], real[n : 2 * n])
        )
        value, floor = temporal(made[1], reference[1]), temporal(probe[1], reference[1])
        below, above = bootstrap(temporal, (made[1], reference[1]), seed_of(self.kind, evidence.seed), self.rounds)
        fingerprint, note = self.features.fingerprint(evidence), self.features.trained(evidence).note
        measures = [Measure("stream-t", value, max(0.0, value - below), min(1.0, value + above), n, "higher", floor, fingerprint, note)]
        for name, points, by, real_points, real_by in (
            ("stream-f", made[0], reference[0], probe[0], reference[0]),
            ("stream-d", reference[0], made[0], reference[0], probe[0]),
        ):
            hits = covered(points.double(), by.double(), self.neighbours)
            low, high = wilson(int(hits.sum()), len(hits))
            floor = float(covered(real_points.double(), real_by.double(), self.neighbours).mean())
            measures.append(Measure(name, float(hits.mean()), low, high, len(hits), "higher", floor, fingerprint, note))
        return measures


def spectrum(signals: Float[Tensor, "clips frames channels"]) -> tuple[Float[Tensor, "clips channels"], Float[Tensor, "clips channels"]]:
    """The amplitude at frequency 0, and the skewness of the power law A f^B that fits the others, of each clip and channel.

    Skewness: the third moment of the normalised law over the 3/2 power of its second, both about 0. Errors: `ValueError` under 4 frames.
    """
    frames = signals.shape[1]
    if frames < 4:
        raise ValueError(f"STREAM fits a power law to a spectrum in time: expected clips of 4 frames or more, given {frames}")
    amplitude = torch.fft.rfft(signals.double(), dim=1).abs() * 2 / (1 + frames // 2)
    frequency = torch.arange(1, 1 + frames // 2, dtype=torch.float64)
    logarithm, y = frequency.log(), (amplitude[:, 1:] + _TINY).log()
    centred = logarithm - logarithm.mean()
    slope = (y * centred[:, None]).sum(1) / centred.square().sum()
    law = frequency[:, None] ** slope[:, None]
    density = law / law.sum(1, keepdim=True)
    second, third = ((density * frequency[:, None] ** power).sum(1) for power in (2, 3))
    return amplitude[:, 0].float(), (third / second**1.5).float()


def temporal(made: Float[Tensor, "n channels"], real: Float[Tensor, "m channels"]) -> float:
    """Mean over channels of the squared correlation of two histograms with common bins."""
    return float(torch.stack([_agreement(a, b) for a, b in zip(made.T, real.T, strict=True)]).mean())


def _agreement(made: Tensor, real: Tensor) -> Tensor:
    low, high = float(torch.minimum(made.min(), real.min())), float(torch.maximum(made.max(), real.max()))
    if high - low < _TINY:  # a channel that says nothing of either
        return torch.ones(())
    a, b = (torch.histc(x.contiguous(), _BINS, low, high) / len(x) for x in (made, real))
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum().square() / (a.square().sum() * b.square().sum()).clamp(min=1e-12)


def _shuffled(evidence: Evidence) -> list[Tensor]:
    """Real clips of both splits, in an order of the evidence's seed."""
    places = [(data, index) for data in (evidence.train, evidence.test) for index in range(len(data))]
    keys = uniform(torch.tensor([seed_of("video.stream", evidence.seed)]), "reference", 0, 0, max(1, len(places)))[0][: len(places)]
    limit = 2 * len(evidence.samples)
    return [data[index].sample for data, index in (places[i] for i in keys.argsort(stable=True).tolist()[:limit])]
