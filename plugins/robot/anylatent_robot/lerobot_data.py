"""Demonstrations that somebody recorded, in LeRobot's layout."""

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from anylatent.data import Split
from anylatent_robot.demonstrations import Demonstrations, Recorded

if TYPE_CHECKING:
    from anylatent_robot.chunk import Episode


class LeRobot(Demonstrations, kind="robot.lerobot"):
    """A folder in the layout of LeRobot's data sets, version 3 (`meta/info.json`, `data/**.parquet`). Numbers are read, cameras are not.

    The task of an episode is its sentence, under `task` and `caption`. Episodes are held out by a hash of their content.
    """

    summary: ClassVar[str] = "your own demonstrations, or others': a folder in the layout of LeRobot's data sets v3.0 (parquet)"

    path: str = Field(description="The folder that holds `meta` and `data`.")
    observation: tuple[str, ...] = Field(default=("observation.state",), min_length=1, description="Features that are observed, joined.")
    action: str = Field(default="action", description="The feature that is done.")
    test_share: float = Field(default=0.1, gt=0, lt=1, description="How many of the episodes are held out.")
    strict: bool = Field(default=False, description="Stop at the first episode that cannot be read instead of leaving it out.")

    def record(self, split: Split) -> Recorded:
        from anylatent_robot.lerobot_reading import read_lerobot

        root = Path(self.path).expanduser()
        whole = read_lerobot(root, self.observation, self.action)
        if self.strict and whole.problems:
            raise ValueError(whole.problems[0])
        contents = {episode.id: _content(episode) for episode in whole.episodes}
        distinct = sorted(set(contents.values()))
        if len(distinct) < 2:
            first = f"; the first problem: {whole.problems[0]}" if whole.problems else ""
            raise ValueError(
                f"{root} holds {len(distinct)} different episodes that can be read, expected 2 or more (one is held out){first}"
            )
        held_out = set(distinct[: min(math.ceil(self.test_share * len(distinct)), len(distinct) - 1)])
        chosen = [episode for episode in whole.episodes if (contents[episode.id] in held_out) == (split == "test")]
        return Recorded(chosen, whole.hz, whole.problems, whole.unread)


def _content(episode: "Episode") -> str:
    digest = hashlib.sha256(episode.observations.contiguous().numpy().tobytes())
    digest.update(episode.actions.contiguous().numpy().tobytes())
    return digest.hexdigest()
