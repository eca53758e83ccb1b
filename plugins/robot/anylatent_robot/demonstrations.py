"""What all data sets of demonstrations have in common: episodes cut into chunks."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import Field

from anylatent.data import Dataset, DatasetConfig, Split
from anylatent.types import Float, Tensor
from anylatent_robot.chunk import Episode


class World(Protocol):
    """Something to act in. Observations and actions are float32 tensors in raw units."""

    def reset(self, seed: int) -> Float[Tensor, " observed"]:
        """Begin an episode: the same one for the same seed."""
        ...

    def step(self, action: Float[Tensor, " acted"]) -> tuple[Float[Tensor, " observed"], bool]:
        """Act for one control step: what is seen then, and whether the task is done."""
        ...

    def expert(self) -> Float[Tensor, " acted"]:
        """What the one who gave the demonstrations would do now."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Recorded:
    """The episodes of one split, the control steps a second, what could not be read, and what is never read (cameras)."""

    episodes: list[Episode]
    hz: float
    problems: list[str]
    unread: list[str] = field(default_factory=list)


class Demonstrations(DatasetConfig):
    """Describes demonstrations, and how they are cut into chunks."""

    horizon: int = Field(default=8, ge=1, description="Actions of a chunk.")
    history: int = Field(default=2, ge=1, description="Observations before a chunk, the newest included.")
    stride: int = Field(default=1, ge=1, description="Control steps between the beginnings of two chunks.")

    def record(self, split: Split) -> Recorded:
        """The demonstrations of a split. Errors: as `build`."""
        raise NotImplementedError

    def build(self, split: Split) -> Dataset:
        """Open a split: conditions `task` and `caption`, ids `<episode>/<step>`.

        Errors: `FileNotFoundError`, `ValueError` for what is not there or cannot be read at all.
        """
        from anylatent_robot.chunks_data import Chunks

        return Chunks(self.record(split), self.history, self.horizon, self.stride)

    def world_tasks(self) -> list[dict[str, Any]]:
        """The conditions of each task that can be tried in a world: with `task` the name that `world` takes."""
        return []

    def world(self, task: str) -> World:
        """A world to try the task in. Errors: `ValueError` if there is none."""
        raise ValueError(f"data set '{self.kind}' holds recorded demonstrations and no world to act in")

    def trial_seed(self, number: int) -> int:
        """The seed of evaluation episode `number`: never one of a demonstration."""
        raise ValueError(f"data set '{self.kind}' holds recorded demonstrations and no world to act in")
