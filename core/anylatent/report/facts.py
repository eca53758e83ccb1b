"""What a report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anylatent.metrics.base import Measure
    from anylatent.state import Receipt


@dataclass(frozen=True)
class StageTime:
    """How long a stage of the run took; `note` says what it did (`3,000 steps`, `from the cache`)."""

    name: str
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG file's bytes, and what it shows."""

    caption: str
    png: bytes


@dataclass(frozen=True)
class Preview:
    """What the denoiser made after `step` steps of training, always of the same seeds."""

    step: int
    png: bytes


@dataclass(frozen=True)
class Section:
    """What a plugin adds: HTML that it vouches for."""

    title: str
    html: str


@dataclass(frozen=True)
class ReportFacts:
    """Everything that a report shows. Only the title and the recipe must be there; what is empty is left out."""

    title: str
    recipe: str
    """The recipe as YAML, defaults written out."""
    summary: str = ""
    """One sentence: what was trained, on what."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Versions and machine, by name."""
    stages: Sequence[StageTime] = ()
    log: Sequence[Mapping[str, Any]] = ()
    """Lines of metrics.jsonl: `stage`, `step`, `loss`, and other numbers (`learning_rate`, `seconds`, …)."""
    previews: Sequence[Preview] = ()
    sheets: Sequence[Picture] = ()
    """Final samples."""
    measures: "Sequence[Measure]" = ()
    receipts: "Sequence[Receipt]" = ()
    problems: Sequence[str] = ()
    """What a person should know before believing the rest: skipped records, refused metrics, methods without effect."""
    shell: str = ""
    """Commands that reproduce the run."""
    python: str = ""
    """The same in Python."""
    sections: Sequence[Section] = ()
    made: str = ""
    """When and by what version, for the last line."""
