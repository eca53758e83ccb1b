"""The contract of a metric."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from anylatent.data import Dataset
from anylatent.modality import Modality
from anylatent.node import Node
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.denoiser import Denoiser
    from anylatent.known import Known
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Measure:
    """A measured number: `value` with a 95 % interval `[low, high]` from `n` samples; `floor` is what real data reach."""

    name: str
    value: float
    low: float
    high: float
    n: int
    better: Literal["higher", "lower", "neither"]
    floor: float | None = None
    fingerprint: str = ""
    """Of whatever decides the number besides the samples (a metric network, a reference set)."""
    note: str = ""

    def written(self) -> dict[str, Any]:
        """As JSON can hold it: null for a number that is none."""
        return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in vars(self).items()}

    @staticmethod
    def read(entry: Mapping[str, Any]) -> "Measure":
        """What `written` wrote."""
        numbers: dict[str, Any] = {name: math.nan for name in ("value", "low", "high") if entry[name] is None}
        return Measure(**(dict(entry) | numbers))


class Generate(Protocol):
    """Makes rows of a start state (with what it keeps, absent and all) by a run's denoiser and sampling: a state of clean tokens."""

    denoiser: "Denoiser"

    def __call__(
        self, state: "State", conditions: Sequence[Mapping[str, Any]], begin: float = 1.0, known: "Known | None" = None
    ) -> "State":
        """`begin` < 1: from the state's values noised to that time. Row i has the state's seed i. `known`: what else is known of rows."""
        ...


@dataclass(frozen=True)
class Evidence:
    """What metrics judge: generated samples with what each was asked to be, beside real ones."""

    modality: Modality
    samples: Sequence[Any]
    asked: Sequence[Mapping[str, Any]]
    train: Dataset
    test: Dataset
    tokenizer: "Tokenizer | None" = None
    cache: Path = field(default_factory=Path)
    """A folder that outlives the run, for networks and features, by fingerprint."""
    seed: int = 0
    model: "Generate | None" = None
    """What made the samples, for metrics that use it for something (a policy in its world)."""


class Metric(Node, family="metric"):
    """Judges samples. Refuses with `TooFewSamples` under `min_n` rather than print a meaningless number."""

    min_n: ClassVar[int] = 2
    judges_samples: ClassVar[bool] = True
    """Whether it looks at `Evidence.samples`; where no metric does, a run makes none."""
    asks_denoiser: ClassVar[bool] = False
    """Whether it goes by `Evidence.model` although it also looks at samples. One that judges no samples does."""

    def compute(self, evidence: Evidence) -> list[Measure]:
        """One or more measures. Errors: `TooFewSamples`; `ValueError` for samples that it cannot judge."""
        raise NotImplementedError

    def refusals(self, modality: Modality, tokenizer: "Tokenizer") -> Iterator[str]:
        """Why it cannot judge what this tokenizer's samples will be, found before anything is trained."""
        yield from ()

    def unanswered(self, denoiser: "Denoiser") -> Iterator[str]:
        """Why a run's denoiser cannot tell what it asks of it, found before anything is trained."""
        yield from ()

    def require(self, count: int) -> None:
        if count < self.min_n:
            raise TooFewSamples(f"{self.kind} needs at least {self.min_n} samples, given {count}: ask for more with sample.count")


class TooFewSamples(ValueError):
    """A metric was given fewer samples than it can say anything about."""


class Features(Node, family="features"):
    """A network that turns samples into feature vectors, for the metrics that compare sets in a feature space."""

    def compute(self, samples: Sequence[Any], evidence: Evidence) -> Float[Tensor, "samples features"]:
        """Feature vectors, one row a sample; trained on `evidence.train` if need be, cached in `evidence.cache`."""
        raise NotImplementedError

    def fingerprint(self, evidence: Evidence) -> str:
        """Of the network that `compute` uses."""
        raise NotImplementedError
