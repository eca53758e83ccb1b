"""Judging joint samples: a part by its own metrics, what goes together, and each conditional of one denoiser."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from anylatent.data import Dataset, Record
from anylatent.joint.editing import GivenParts, require_roles
from anylatent.joint.modality import Joint
from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.intervals import bootstrap, wilson
from anylatent.modality import Modality

if TYPE_CHECKING:
    from anylatent.tokenizers.base import Tokenizer


class PartDataset(Dataset):
    """One part of a joint data set's records."""

    def __init__(self, whole: Dataset, part: str) -> None:
        self.whole, self.part, self.problems = whole, part, whole.problems

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Record:
        record = self.whole[index]
        return Record(record.sample[self.part], record.conditions, record.id)

    def fingerprint(self) -> str:
        return f"{self.part} of {self.whole.fingerprint()}"


class PartMetric(Metric, kind="part"):
    """A metric of one part's modality, on that part of the samples; other parts can stand in for what was asked."""

    part: str = Field(description="The part's name.")
    metric: Metric
    asked: dict[str, str] = Field(default={}, description="Conditions whose asked value is a part that was made: {label: label}.")

    @model_validator(mode="after")
    def _of_samples(self) -> "PartMetric":
        _only_samples(self, self.metric)
        return self

    @property
    def min_n(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.metric.min_n

    def refusals(self, modality: Modality, tokenizer: "Tokenizer") -> Iterator[str]:
        yield from _refusals(self, modality, self.part, *self.asked.values())
        own = _tokenizer_of(self.part, tokenizer)
        if isinstance(modality, Joint) and self.part in modality.parts and own is not None:
            yield from self.metric.refusals(modality.parts[self.part], own)

    def compute(self, evidence: Evidence) -> list[Measure]:
        """The metric's measures, named after the part. Errors: as the metric's; `ValueError` for a part that is unknown or not made."""
        joint = _joint(self, evidence, self.part, *self.asked.values())
        there = [index for index, sample in enumerate(evidence.samples) if sample.get(self.part) is not None]
        if evidence.samples and not there:
            raise ValueError(f"{self.kind}: none of the {len(evidence.samples)} samples has the part '{self.part}': it was not made")
        samples = [evidence.samples[index] for index in there]
        own = replace(
            evidence,
            modality=joint.parts[self.part],
            samples=[sample[self.part] for sample in samples],
            asked=[dict(evidence.asked[i]) | {name: evidence.samples[i][part] for name, part in self.asked.items()} for i in there],
            train=PartDataset(evidence.train, self.part),
            test=PartDataset(evidence.test, self.part),
            tokenizer=_tokenizer_of(self.part, evidence.tokenizer),
            model=None,  # it makes rows of all parts' streams
        )
        self.metric.require(len(samples))
        return [replace(measure, name=f"{self.part}: {measure.name}") for measure in self.metric.compute(own)]


class AsAsked(Metric, kind="as-asked"):
    """The share of samples of which a part is exactly what was asked (a class that a conditional should find)."""

    part: str
    condition: str = Field(default="", description="What was asked; empty: the condition of the part's name.")

    def refusals(self, modality: Modality, tokenizer: "Tokenizer") -> Iterator[str]:
        yield from _refusals(self, modality, self.part)

    def compute(self, evidence: Evidence) -> list[Measure]:
        """One measure with Wilson's interval; the shuffled control pairs each sample with another's request."""
        _joint(self, evidence, self.part)
        name = self.condition or self.part
        pairs = [
            (sample.get(self.part), asked[name]) for sample, asked in zip(evidence.samples, evidence.asked) if asked.get(name) is not None
        ]
        if not pairs:
            raise ValueError(f"{self.kind}: no sample was asked for '{name}'")
        self.require(len(pairs))
        right = sum(made == wanted for made, wanted in pairs)
        chance = sum(pairs[i][0] == pairs[(i + len(pairs) // 2) % len(pairs)][1] for i in range(len(pairs))) / len(pairs)
        low, high = wilson(right, len(pairs))
        note = f"paired with another sample's: {chance:.3f}"
        return [Measure(f"{self.part} as asked", right / len(pairs), low, high, len(pairs), "higher", 1.0, note=note)]


class EventsTogether(Metric, kind="events-together"):
    """Whether things happen at the same time in two parts: from each event of one, the time to the nearest of the other.

    A sample of which only one part has events counts as `alone` seconds away. The control pairs each first part with
    another sample's second.
    """

    min_n: ClassVar[int] = 10

    first: str
    second: str
    within: float = Field(default=0.1, gt=0, description="Seconds within which two events are one.")
    alone: float = Field(default=1.0, gt=0, description="Seconds that count for events without a counterpart in the whole sample.")

    def refusals(self, modality: Modality, tokenizer: "Tokenizer") -> Iterator[str]:
        yield from _refusals(self, modality, self.first, self.second)

    def compute(self, evidence: Evidence) -> list[Measure]:
        """Median offset in seconds, and the share within `within`; both with what pairs of different samples give."""
        from anylatent.random import seed_of

        joint = _joint(self, evidence, self.first, self.second)
        self.require(len(evidence.samples))
        made = self._events(joint, evidence.samples)
        count = min(len(evidence.test), len(evidence.samples), 200)
        real = self._events(joint, [evidence.test[index].sample for index in range(count)])
        shifted = [second for _, second in made]
        control = list(zip([first for first, _ in made], shifted[1:] + shifted[:1], strict=True))
        seed = seed_of(self.kind, evidence.seed)
        measures = []
        for name, pairs in (("", made), (" of different samples (control)", control)):
            offsets = torch.tensor([_offset(*pair, self.alone) for pair in pairs])
            floors = torch.tensor([_offset(*pair, self.alone) for pair in real])
            better = "lower" if not name else "neither"
            middle = float(offsets.median())
            below, above = bootstrap(lambda x: float(x.median()), (offsets,), seed)
            title, floor = f"{self.first}-{self.second} offset{name}, s", None if name else float(floors.median())
            measures.append(Measure(title, middle, max(0.0, middle - below), middle + above, len(pairs), better, floor))
            hits, n = int((offsets <= self.within).sum()), len(pairs)
            low, high = wilson(hits, n)
            floor = None if name else float((floors <= self.within).float().mean())
            better = "higher" if not name else "neither"
            measures.append(Measure(f"within {self.within:g} s{name}", hits / n, low, high, n, better, floor))
        return measures

    def _events(self, joint: Joint, samples: Sequence[Any]) -> list[tuple[list[float], list[float]]]:
        whole = [sample for sample in samples if sample.get(self.first) is not None and sample.get(self.second) is not None]
        if len(whole) < len(samples):
            raise ValueError(f"{self.kind} compares '{self.first}' and '{self.second}': {len(samples) - len(whole)} samples lack one")
        return [(joint.parts[self.first].events(s[self.first]), joint.parts[self.second].events(s[self.second])) for s in whole]


class Conditional(Metric, kind="conditional"):
    """Judges what the same denoiser makes of held-out samples' given parts, or with parts absent, by another metric."""

    judges_samples: ClassVar[bool] = False

    given: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    count: int = Field(default=100, ge=2, description="Samples to make.")
    metric: Metric

    @model_validator(mode="after")
    def _sensible(self) -> "Conditional":
        require_roles(self.given, self.absent)
        _only_samples(self, self.metric)
        if self.count < self.metric.min_n:
            raise ValueError(f"metric '{self.metric.kind}' needs at least {self.metric.min_n} samples: `count` is {self.count}")
        return self

    def refusals(self, modality: Modality, tokenizer: "Tokenizer") -> Iterator[str]:
        try:
            GivenParts(given=self.given, absent=self.absent).roles(tokenizer)
        except ValueError as error:
            yield f"{self.kind}: {error}"
        yield from self.metric.refusals(modality, tokenizer)

    def compute(self, evidence: Evidence) -> list[Measure]:
        """The metric's measures, named after what was given. Errors: as the metric's and `GivenParts.start`."""
        from anylatent.random import seed_of

        if evidence.model is None or evidence.tokenizer is None:
            raise ValueError(f"{self.kind} makes samples of its own: it needs the run's denoiser and tokenizer (Run.evaluate gives them)")
        records = [evidence.test[index % len(evidence.test)] for index in range(self.count)]
        seeds = torch.tensor([seed_of(self.kind, evidence.seed, index) for index in range(self.count)])
        given, editor = [record.sample for record in records] if self.given else [], GivenParts(given=self.given, absent=self.absent)
        state = editor.start(evidence.tokenizer, given, seeds)
        made = editor.finish(evidence.tokenizer.decode(evidence.model(state, [{}] * self.count)), given)
        asked = [dict(record.conditions) if self.given else {} for record in records]
        told = " ".join(f"{word} {', '.join(parts)}" for word, parts in (("given", self.given), ("without", self.absent)) if parts)
        return [replace(m, name=f"{told}: {m.name}") for m in self.metric.compute(replace(evidence, samples=made, asked=asked))]


def _only_samples(metric: Metric, inner: Metric) -> None:
    """Refuse a metric inside of another that hands it samples, if it goes by the denoiser instead. Errors: `ValueError`."""
    if inner.asks_denoiser or not inner.judges_samples:
        outer = metric.kind
        raise ValueError(
            f"metric '{outer}' hands on samples to be judged, and '{inner.kind}' asks the denoiser: name it outside of '{outer}'"
        )


def _offset(first: Sequence[float], second: Sequence[float], alone: float) -> float:
    """Median time in seconds from an event of either part to the nearest of the other; `alone` if only one part has any."""
    if not first and not second:
        return 0.0
    if not first or not second:
        return alone
    apart = torch.cdist(torch.tensor(first)[:, None], torch.tensor(second)[:, None])
    return float(torch.cat((apart.amin(1), apart.amin(0))).median())


def _refusals(metric: Metric, modality: Modality, *parts: str) -> Iterator[str]:
    if not isinstance(modality, Joint):
        yield f"{metric.kind} judges joint samples; these are of the modality '{modality.kind}'"
    else:
        yield from (
            f"{metric.kind}: there is no part '{name}': the samples have {list(modality.parts)}"
            for name in parts
            if name not in modality.parts
        )


def _joint(metric: Metric, evidence: Evidence, *parts: str) -> Joint:
    for refusal in _refusals(metric, evidence.modality, *parts):
        raise ValueError(refusal)
    assert isinstance(evidence.modality, Joint)
    return evidence.modality


def _tokenizer_of(part: str, tokenizer: "Tokenizer | None") -> "Tokenizer | None":
    from anylatent.joint.joint_tokenizer import JointTokenizer

    return tokenizer.named[part] if isinstance(tokenizer, JointTokenizer) and part in tokenizer.named else None
