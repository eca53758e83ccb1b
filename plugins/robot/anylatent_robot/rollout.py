"""Episodes in worlds: a policy, an expert or chance acts until the task is done or time is up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from anylatent import random
from anylatent.types import Float, Tensor
from anylatent_robot.demonstrations import World


@dataclass(frozen=True, eq=False)
class Rollout:
    """What happened: an observation more than there are actions."""

    observations: Float[Tensor, "seen observed"]
    actions: Float[Tensor, "steps acted"]
    success: bool
    seed: int
    hz: float


class Actor(Protocol):
    """Acts in several episodes at once, which are its rows."""

    def begin(self, seeds: Sequence[int], conditions: Sequence[Mapping[str, Any]]) -> None:
        """New episodes, one a row, each with its seed and what it is asked to do."""
        ...

    def act(self, observations: Float[Tensor, "rows observed"], rows: Sequence[int]) -> Float[Tensor, "rows acted"]:
        """The next action of these rows (those that are not over), given what each sees now."""
        ...


class Chance:
    """Acts at random, uniformly in [-1, 1]: what success costs nothing."""

    def __init__(self, acted: int) -> None:
        self.acted = acted
        self._seeds: list[int] = []
        self._steps: list[int] = []

    def begin(self, seeds: Sequence[int], conditions: Sequence[Mapping[str, Any]]) -> None:
        self._seeds, self._steps = list(seeds), [0] * len(seeds)

    def act(self, observations: Float[Tensor, "rows observed"], rows: Sequence[int]) -> Float[Tensor, "rows acted"]:
        steps = torch.tensor([self._steps[row] for row in rows])
        for row in rows:
            self._steps[row] += 1
        return 2 * random.uniform(torch.tensor([self._seeds[row] for row in rows]), "chance", steps, 0, self.acted) - 1


class Expert:
    """Does what the giver of the demonstrations would do."""

    def __init__(self, worlds: Sequence[World]) -> None:
        self.worlds = worlds

    def begin(self, seeds: Sequence[int], conditions: Sequence[Mapping[str, Any]]) -> None:
        pass

    def act(self, observations: Float[Tensor, "rows observed"], rows: Sequence[int]) -> Float[Tensor, "rows acted"]:
        return torch.stack([self.worlds[row].expert() for row in rows])


def roll_out(
    worlds: Sequence[World], actor: Actor, seeds: Sequence[int], condition: Mapping[str, Any], limit: int, hz: float
) -> list[Rollout]:
    """One episode a seed, in as many worlds side by side; an episode ends when it is done, or after `limit` control steps."""
    out: list[Rollout] = []
    for first in range(0, len(seeds), len(worlds)):
        out += _side_by_side(worlds, actor, seeds[first : first + len(worlds)], condition, limit, hz)
    return out


def _side_by_side(
    worlds: Sequence[World], actor: Actor, seeds: Sequence[int], condition: Mapping[str, Any], limit: int, hz: float
) -> list[Rollout]:
    seen = [[world.reset(seed)] for world, seed in zip(worlds, seeds)]
    done: list[list[Tensor]] = [[] for _ in seeds]
    success = [False] * len(seeds)
    actor.begin(seeds, [condition] * len(seeds))
    for _ in range(limit):
        rows = [row for row, over in enumerate(success) if not over]
        if not rows:
            break
        for row, action in zip(rows, actor.act(torch.stack([seen[row][-1] for row in rows]), rows)):
            observation, success[row] = worlds[row].step(action)
            seen[row].append(observation)
            done[row].append(action)
    return [Rollout(torch.stack(seen[row]), torch.stack(done[row]), success[row], seed, hz) for row, seed in enumerate(seeds)]
