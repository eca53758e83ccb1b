"""What happens while a recipe runs. Producers yield these; whoever watches consumes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """A stage begins, `done` of `total` steps so far.

    `tokenizer`, `latents` or `pairs`, `denoiser`, `classifier NAME`, `sample`, `evaluate`, `report`.
    """

    name: str
    total: int
    done: int = 0


@dataclass(frozen=True)
class Step:
    """A step of the current stage was made: how many are done, the loss (None where there is none), other numbers."""

    stage: str
    done: int
    total: int
    loss: float | None = None
    numbers: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Saved:
    """A file or folder was written whole: `what` is checkpoint, samples, preview, report…"""

    what: str
    path: Path


@dataclass(frozen=True)
class Note:
    """Something that a person should read (a skipped record, a resumed step)."""

    text: str


Event = Stage | Step | Saved | Note
