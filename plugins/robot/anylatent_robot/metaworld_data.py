"""Demonstrations of Meta-World's scripted experts."""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from anylatent.data import Split
from anylatent_robot.demonstrations import Demonstrations, Recorded
from anylatent_robot.sentences import SENTENCES

if TYPE_CHECKING:
    from anylatent_robot.metaworld_world import MetaWorldEpisodes

_KINDS = {"train": 0, "test": 1, "trial": 2}
"""What an episode is for, by its seed modulo 3: none can be for two things."""


class MetaWorld(Demonstrations, kind="robot.metaworld"):
    """Scripted experts (Yu et al. 2019, 1910.10897) at a simulated Sawyer arm, 80 control steps a second, successes only.

    An observation is 21 numbers: hand position (m), gripper opening (0 to 1), positions (m) and quaternions of up to two
    objects, goal (m). An action is 4 numbers in [-1, 1]: hand velocity x, y, z (1 is 1 cm a step), gripper torque. Made once,
    then kept in the cache; `noise` disturbs what is executed, not what is recorded (DART, Laskey et al. 2017, 1703.09327).
    """

    summary: ClassVar[str] = "demonstrations of 50 tasks by scripted experts in Meta-World on MuJoCo, made on this machine; MIT"

    tasks: tuple[str, ...] = Field(default=("button-press-topdown-v3", "drawer-open-v3"), min_length=1, description="Of Meta-World's 50.")
    demonstrations: int = Field(default=30, ge=1, description="Episodes of each task to train on.")
    held_out: int = Field(default=5, ge=1, description="Episodes of each task in `test`.")
    noise: float = Field(default=0.0, ge=0, description="Standard deviation of the disturbance of each executed action.")
    limit: int = Field(default=500, ge=1, le=500, description="Control steps after which an episode has failed.")
    seed: int = Field(default=0, ge=0)

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task not in SENTENCES:
                near = get_close_matches(task, SENTENCES, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ValueError(f"Meta-World has no task '{task}'{hint} (it has {len(SENTENCES)}, from '{min(SENTENCES)}' on)")
        if len(set(tasks)) < len(tasks):
            raise ValueError(f"a task is named twice: {', '.join(tasks)}")
        return tasks

    def record(self, split: Split) -> Recorded:
        from anylatent_robot.metaworld_world import HZ, demonstrate

        made: list[MetaWorldEpisodes] = []
        for task in self.tasks:
            count = self.demonstrations if split == "train" else self.held_out
            made.append(demonstrate(task, count, lambda number: self._seed(split, number), self.noise, self.limit))
        problems = [problem for each in made for problem in each.problems]
        return Recorded([episode for each in made for episode in each.episodes], HZ, problems)

    def world_tasks(self) -> list[dict[str, Any]]:
        return [{"task": task, "caption": SENTENCES[task]} for task in self.tasks]

    def world(self, task: str):
        from anylatent_robot.metaworld_world import MetaWorldWorld

        return MetaWorldWorld(task)

    def trial_seed(self, number: int) -> int:
        return self._seed("trial", number)

    def _seed(self, kind: str, number: int) -> int:
        from anylatent.random import seed_of

        return seed_of("metaworld", kind, self.seed, number) % (1 << 28) * 3 + _KINDS[kind]
