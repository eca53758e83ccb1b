"""What the run's denoiser knows of held-out samples: their likelihood, their class, features that tell it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from anylatent.conditioners.standard import ClassConfig
from anylatent.data import Dataset, Record
from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Measure, Metric, TooFewSamples
from anylatent.metrics.intervals import mean_interval, wilson
from anylatent.nn.sites import Site, no_site
from anylatent.node import Stage
from anylatent.types import Float, Int, Tensor

if TYPE_CHECKING:
    from anylatent.conditioners.base import Conditioner
    from anylatent.denoiser import Denoiser
    from anylatent.perception.likelihood import Begin
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer


class LikelihoodMetric(Metric, kind="likelihood"):
    """Bits a number of held-out samples' tokens: by the probability-flow ODE (Song et al. 2020, 2011.13456), or a discrete path's bound.

    Under what each sample is said to be. In tokens, whatever the tokenizer: comparable between denoisers of one tokenizer. The training
    samples' beside it show what was learnt by heart. Where tokens are predicted as data it is a bound, as the flow begins with noise:
    how much, is measured on training samples (`begins`) and told.
    """

    judges_samples: ClassVar[bool] = False
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "4 * steps"}
    systems: ClassVar[tuple[str, ...]] = ("Score SDE, likelihoods (2011.13456)",)

    limit: int = Field(default=100, ge=2, description="Samples of each split.")
    steps: int = Field(default=40, ge=1, description="Runge-Kutta steps, four network calls each; on discrete paths, four times each.")
    probes: int = Field(default=1, ge=1, description="Random directions that the divergence is estimated with (Gaussian paths).")
    exact: bool = Field(default=False, description="The divergence itself instead: a derivative a number, for small samples.")

    def unanswered(self, denoiser: "Denoiser") -> Iterator[str]:
        from anylatent.perception.likelihood import unlikely

        yield from (f"metric '{self.kind}': {problem}" for problem in unlikely(denoiser))

    def compute(self, evidence: Evidence) -> list[Measure]:
        """One measure with a bootstrap interval. Errors: `ValueError` without a denoiser, or for a path without a flow or bound."""
        from anylatent.random import seed_of

        begin = self._begin(evidence)
        held, learnt = (self._bits(evidence, data, begin) for data in (evidence.test, evidence.train))
        low, high = mean_interval(held, seed_of(self.kind, evidence.seed))
        note = f"bits a number of tokens, of held-out samples; {len(learnt)} training samples have {float(learnt.mean()):.4g}"
        noise = ", ".join(f"{each.ratio:.3g} of the signal in '{name}'" for name, each in begin.items())
        note += f"; a bound, that begins with noise ({noise})" if noise else ""
        return [Measure("likelihood", float(held.mean()), low, high, len(held), "lower", note=note)]

    def _begin(self, evidence: Evidence) -> "dict[str, Begin]":
        """Where flows begin, by training samples."""
        from anylatent.perception.likelihood import begins_on

        return begins_on(*_parts(self, evidence), evidence.train)

    def _bits(self, evidence: Evidence, data: Dataset, begin: "Mapping[str, Begin]") -> Float[Tensor, " samples"]:
        from anylatent.perception.likelihood import log_likelihood

        denoiser, tokenizer = _parts(self, evidence)
        records = _some(self, data, self.limit)
        found = []
        for first in range(0, len(records), 50):
            chunk = records[first : first + 50]
            state = _encoded(tokenizer, chunk, first)
            condition = denoiser.conditions([_asked(denoiser, record) for record in chunk], state.device)
            found.append(log_likelihood(denoiser, state, condition, self.steps, self.probes, self.exact, begin).bits_per_number)
        return torch.cat(found)


class DiffusionClassifier(Metric, kind="diffusion-classifier"):
    """The share of held-out samples whose condition is found by which one they are denoised best under (Li et al. 2023, 2303.16203).

    A zero-shot classifier: nothing is trained for it. It chooses among all classes that the denoiser knows.
    """

    judges_samples: ClassVar[bool] = False
    example: ClassVar[Mapping[str, Any]] = {"condition": "label"}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "draws * classes"}
    systems: ClassVar[tuple[str, ...]] = ("Diffusion Classifier (2303.16203)", "Diffusion models as zero-shot classifiers (2303.15233)")

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return {"condition": stage.condition}

    condition: str = Field(description="The condition to find: a class.")
    limit: int = Field(default=100, ge=2, description="Held-out samples.")
    draws: int = Field(default=24, ge=1, description="Times and noises a sample: each is one network call a class.")
    weight: Literal["noise", "likelihood"] = Field(default="noise", description="How errors at different times are added up.")

    def unanswered(self, denoiser: "Denoiser") -> Iterator[str]:
        from anylatent.perception.diffusion_classifier import unclassified

        known = sorted(denoiser.conditions.named)
        if self.condition not in known:
            has = f"knows {', '.join(known)}" if known else "knows none"
            yield f"metric '{self.kind}': there is no condition '{self.condition}', the denoiser {has}"
        yield from _no_class(self, denoiser)
        yield from (f"metric '{self.kind}': {problem}" for problem in unclassified(denoiser))

    def compute(self, evidence: Evidence) -> list[Measure]:
        """One measure with Wilson's interval. Errors: `ValueError` if the condition is no class, or has fewer than two."""
        from anylatent.perception.diffusion_classifier import denoising_errors

        denoiser, tokenizer = _parts(self, evidence)
        for problem in self.unanswered(denoiser):
            raise ValueError(problem)
        records, values, truth = _classes(self, evidence.test, self.condition, self.limit, _known(denoiser, self.condition))
        candidates = [{self.condition: value} for value in values]
        errors = [
            denoising_errors(
                denoiser, _encoded(tokenizer, records[i : i + 50], i), [{}] * len(records[i : i + 50]), candidates, self.draws, self.weight
            )
            for i in range(0, len(records), 50)
        ]
        right = int((torch.cat(errors).argmin(1) == truth).sum())
        low, high = wilson(right, len(records))
        note = f"of {len(values)} classes, chance {1 / len(values):.3g}; {self.draws} calls a class and sample"
        return [Measure(f"finds {self.condition}", right / len(records), low, high, len(records), "higher", 1.0, note=note)]


class Probe(Metric, kind="probe"):
    """How well a linear probe tells a class from the tokens inside of the denoiser (Xiang et al. 2023, 2303.09769).

    Ridge regression to one-hot classes on the mean of each sample's tokens at a site, noised to a time; trained on
    training samples, tried on held-out ones. The same probe on the tokens themselves is the control. The class may be any that
    records have, known to the denoiser or not.
    """

    judges_samples: ClassVar[bool] = False
    example: ClassVar[Mapping[str, Any]] = {"condition": "label"}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "1"}
    systems: ClassVar[tuple[str, ...]] = ("DDAE, linear probes (2303.09769)", "DIFT, features (2306.03881)")

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return {"condition": stage.condition}

    condition: str = Field(description="The class to tell.")
    block: int = Field(default=0, ge=0, description="In which block, from 0.")
    part: str = Field(default="block", description="What of it is read: all (block), attention, attend, cross, mlp; or the trunk.")
    time: float = Field(default=0.2, gt=0, lt=1, description="How noisy the tokens are (0: data, 1: prior).")
    limit: int = Field(default=500, ge=10, description="Samples of each split.")

    def unanswered(self, denoiser: "Denoiser") -> Iterator[str]:
        yield from _no_class(self, denoiser)
        yield from filter(None, [no_site(f"metric '{self.kind}'", Site(self.part, self.block), denoiser.backbone)])

    def compute(self, evidence: Evidence) -> list[Measure]:
        """One measure with Wilson's interval. Errors: `ValueError` for a site that is not there, or what is no class of two or more."""
        denoiser, _ = _parts(self, evidence)
        for problem in self.unanswered(denoiser):
            raise ValueError(problem)
        train, values, target = _classes(self, evidence.train, self.condition, self.limit, _known(denoiser, self.condition))
        test, _, truth = _classes(self, evidence.test, self.condition, self.limit, values)
        inner = self._accuracy(self._features(evidence, train), target, self._features(evidence, test), truth, len(values))
        raw = self._accuracy(self._tokens(evidence, train), target, self._tokens(evidence, test), truth, len(values))
        low, high = wilson(inner, len(test))
        note = f"linear probe after {_words(self.part, self.block)} at time {self.time:g}; on the tokens' own means: {raw / len(test):.3g}"
        return [Measure(f"probe {self.condition}", inner / len(test), low, high, len(test), "higher", note=note)]

    def _features(self, evidence: Evidence, records: Sequence[Record]) -> Float[Tensor, "samples width"]:
        from anylatent.perception.features import sample_features, token_features

        denoiser, tokenizer = _parts(self, evidence)
        found = []
        for first in range(0, len(records), 50):
            state = _encoded(tokenizer, records[first : first + 50], first)
            tokens = token_features(denoiser, state, [{}] * len(state), self.block, self.time, part=self.part)
            found.append(sample_features(tokens, torch.cat([state[spec.name].mask for spec in denoiser.specs], 1)))
        return torch.cat(found)

    def _tokens(self, evidence: Evidence, records: Sequence[Record]) -> Float[Tensor, "samples width"]:
        from anylatent.perception.features import sample_features

        _, tokenizer = _parts(self, evidence)
        found = []
        for first in range(0, len(records), 50):
            state = _encoded(tokenizer, records[first : first + 50], first)
            found.append(torch.cat([sample_features(state[spec.name].values, state[spec.name].mask) for spec in tokenizer.specs], 1))
        return torch.cat(found)

    def _accuracy(self, x: Tensor, target: Int[Tensor, " samples"], other: Tensor, truth: Int[Tensor, " others"], classes: int) -> int:
        """How many of the others a ridge regression (penalty 1, standardised features) gets right."""
        mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
        x, other = ((y - mean) / std for y in (x, other))
        x, other = (torch.nn.functional.pad(y, (0, 1), value=1.0).double() for y in (x, other))
        gram = x.T @ x + torch.eye(x.shape[1], dtype=torch.float64)
        weights = torch.linalg.solve(gram, x.T @ torch.nn.functional.one_hot(target, classes).double())
        return int(((other @ weights).argmax(1) == truth).sum())


def _parts(metric: Metric, evidence: Evidence) -> "tuple[Denoiser, Tokenizer]":
    if evidence.model is None or evidence.tokenizer is None:
        raise ValueError(f"metric '{metric.kind}' asks the run's denoiser: judge by Run.evaluate")
    return evidence.model.denoiser, evidence.tokenizer


def _some(metric: Metric, data: Dataset, limit: int) -> list[Record]:
    """Records, evenly spread. Errors: `TooFewSamples`."""
    count = min(limit, len(data))
    if count < metric.min_n:
        raise TooFewSamples(f"{metric.kind} needs at least {metric.min_n} samples, given {count}: it judges those of the data")
    return [data[i * len(data) // count] for i in range(count)]


def _asked(denoiser: "Denoiser", record: Record) -> dict[str, Any]:
    return {name: value for name, value in record.conditions.items() if name in denoiser.conditions.named and value is not None}


def _encoded(tokenizer: "Tokenizer", records: Sequence[Record], first: int) -> "State":
    from anylatent.state import State

    encoded = tokenizer.encode([record.sample for record in records])
    return State.of(encoded.streams, torch.arange(first, first + len(records)))


def _classes(
    metric: Metric, data: Dataset, condition: str, limit: int, known: list[Any] | None = None
) -> tuple[list[Record], list[Any], Int[Tensor, " samples"]]:
    """Records of a split that have the condition, its values, and which is each record's."""
    some = _some(metric, data, limit)
    records = [record for record in some if record.conditions.get(condition) is not None]
    found = [record.conditions[condition] for record in records]
    if any(not isinstance(value, str | int) for value in found):
        raise ValueError(f"metric '{metric.kind}' tells classes, whole numbers or names: '{condition}' is {found[0]!r} of a sample")
    values = known or sorted(set(found), key=str)
    records = [record for record in records if record.conditions[condition] in values]
    if len(values) < 2 or not records:
        has = ", ".join(sorted({name for record in some for name in record.conditions})) or "no conditions"
        raise ValueError(
            f"metric '{metric.kind}': condition '{condition}' has {len(set(found))} values among {len(some)} samples, expected 2 or more; "
            f"samples have {has}"
        )
    return records, values, torch.tensor([values.index(record.conditions[condition]) for record in records])


def _conditioner(denoiser: "Denoiser", name: str) -> "Conditioner":
    from anylatent.conditioners.base import Conditioner

    found = denoiser.conditions.named[name]
    assert isinstance(found, Conditioner), "conditions are made of conditioners"
    return found


def _known(denoiser: "Denoiser", condition: str) -> list[Any] | None:
    """All classes that the denoiser knows; None of a condition that it does not."""
    return list(_conditioner(denoiser, condition).examples) if condition in denoiser.conditions.named else None


def _no_class(metric: "DiffusionClassifier | Probe", denoiser: "Denoiser") -> Iterator[str]:
    """Why a condition that the denoiser knows is no class."""
    configs = {name: _conditioner(denoiser, name).config for name in denoiser.conditions.named}
    if metric.condition in configs and not isinstance(configs[metric.condition], ClassConfig):
        classes = [name for name, config in configs.items() if isinstance(config, ClassConfig)]
        choice = f"choose {' or '.join(classes)}" if classes else "the denoiser knows no classes"
        yield f"metric '{metric.kind}' tells classes, and '{metric.condition}' is a {configs[metric.condition].kind}: {choice}"


def _words(part: str, block: int) -> str:
    return {"block": f"block {block}", "trunk": "the trunk"}.get(part, f"{part} of block {block}")
