"""How smoothly samples change with the noise that they are made of."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Features, Generate, Measure, Metric
from anylatent.metrics.intervals import mean_interval
from anylatent.metrics.reference import features_of
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.denoiser import Denoiser
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer


class ISTD(Metric, kind="istd"):
    """Interpolation standard deviation: how unevenly samples change on the way from one seed's noise to another's.

    Guo et al. 2023 (2312.04410): noise goes in equal angles from one seed's to the other's, asked one thing all the way, and
    `istd` is the standard deviation of the distances (Euclidean) between neighbouring samples, a mean over pairs; 0: equal
    changes of the noise change samples equally. It grows with the size and scale of what is compared; `unevenness`, the same
    over the mean distance, does not. They measure samples as they are: `features: {kind: flat}`; without features distances are
    between tokens. Samples are made as the run makes them; if its solver adds noise, that noise is one seed's all along a way.
    """

    judges_samples: ClassVar[bool] = False
    systems: ClassVar[tuple[str, ...]] = ("Smooth Diffusion's ISTD (2312.04410)",)
    example: ClassVar[Mapping[str, Any]] = {"pairs": 20, "steps": 10}

    pairs: int = Field(default=20, ge=2, description="Pairs of seeds, each with a way of its own.")
    steps: int = Field(default=10, ge=2, description="Steps of a way: one sample more.")
    features: Features | None = Field(default=None, description="Where distances are measured; none: between tokens.")

    def unanswered(self, denoiser: "Denoiser") -> Iterator[str]:
        from anylatent.paths.base import not_gaussian

        for spec in denoiser.specs:
            problem = None if spec.given else not_gaussian(denoiser.path(spec.name), f"metric '{self.kind}' goes from noise to noise on")
            if problem:
                yield f"{problem} (stream '{spec.name}')"

    def compute(self, evidence: Evidence) -> list[Measure]:
        """Two measures with bootstrap intervals over pairs. Errors: `ValueError` without a denoiser, or for a path that is not Gaussian."""
        from anylatent.random import seed_of

        if evidence.model is None or evidence.tokenizer is None:
            raise ValueError(f"metric '{self.kind}' makes samples with the run's denoiser: judge by Run.evaluate")
        for problem in self.unanswered(evidence.model.denoiser):
            raise ValueError(problem)
        made = self._made(evidence, evidence.tokenizer, evidence.model)
        if self.features is None:
            parts = [stream.values * stream.mask[..., None] for stream in made.streams.values()]
            numbers = torch.cat([part.flatten(1) for part in parts], 1).cpu().double()
        else:
            numbers = features_of(self.features, evidence.tokenizer.decode(made), evidence)
        spread, mean = changes(numbers.unflatten(0, (self.pairs, self.steps + 1)))
        space = "tokens" if self.features is None else f"{self.features.kind} features"
        note = f"{self.steps} steps from seed to seed; one changes {space} by {float(mean.mean()):.3g} on average"
        fingerprint = "" if self.features is None else self.features.fingerprint(evidence)
        measures = []
        for name, values in (("istd", spread), ("unevenness", spread / mean.clamp(min=1e-12))):
            low, high = mean_interval(values, seed_of(self.kind, evidence.seed))
            measures.append(Measure(name, float(values.mean()), low, high, self.pairs, "lower", None, fingerprint, note))
        return measures

    def _made(self, evidence: Evidence, tokenizer: "Tokenizer", model: Generate) -> "State":
        """Clean rows, `steps + 1` a pair, laid out as the pair's first seed is and asked what a training sample is."""
        from anylatent.known import Known
        from anylatent.paths.between import slerp
        from anylatent.random import seed_of

        first, last = (torch.tensor([seed_of(self.kind, evidence.seed, i, end) for i in range(self.pairs)]) for end in (0, 1))
        asked = self._asked(evidence, model)
        start = tokenizer.layout(first, asked)
        prior = {}
        for spec in model.denoiser.specs:
            if spec.given:
                continue
            path, mask = model.denoiser.path(spec.name), start[spec.name].mask
            ends = (replace(start, seeds=seeds.to(start.device)).noise(spec.name, -1, 0) for seeds in (first, last))
            one, other = (path.prior(spec, noise, mask) * mask[..., None] for noise in ends)
            prior[spec.name] = torch.cat([slerp(a, b, self.steps + 1) for a, b in zip(one, other, strict=True)])
        each = [i for i in range(self.pairs) for _ in range(self.steps + 1)]
        state = replace(start.select(each), rows=torch.arange(len(each), device=start.device))
        return model(state, [asked[i] for i in each], known=Known(prior=prior))

    def _asked(self, evidence: Evidence, model: Generate) -> list[dict[str, Any]]:
        """What training samples are, evenly spread."""
        known, count = model.denoiser.conditions.named, len(evidence.train)
        records = [evidence.train[i * count // self.pairs] for i in range(self.pairs)] if known else []
        asked = [{name: value for name, value in record.conditions.items() if name in known and value is not None} for record in records]
        return asked or [{} for _ in range(self.pairs)]


def changes(samples: Float[Tensor, "ways count numbers"]) -> tuple[Float[Tensor, " ways"], Float[Tensor, " ways"]]:
    """Standard deviation (of `count - 2` degrees of freedom) and mean of the distances from each sample of a way to the next."""
    distances = samples.diff(dim=1).norm(dim=2)
    return distances.std(1), distances.mean(1)
