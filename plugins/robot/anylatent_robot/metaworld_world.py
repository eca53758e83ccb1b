"""Meta-World on MuJoCo, without a window: worlds, experts and their demonstrations."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy
import torch

from anylatent import random
from anylatent.files import DamagedFile, cache_folder, digest_of, read_tensors, write_tensors
from anylatent.types import Float, Tensor
from anylatent_robot.chunk import Episode
from anylatent_robot.sentences import SENTENCES

HZ = 80.0
"""Control steps a second: 5 simulation steps of 2.5 ms each."""
ACTION = 4
_NOW, _GOAL = slice(0, 18), slice(36, 39)
"""Of Meta-World's 39 numbers; those between are the frame before, which a history has anyway."""
_TRIES = 3
"""Expert episodes tried for each that is wanted: a task whose expert fails more often gives fewer."""


class MetaWorldWorld:
    """One simulated arm at one task. `reset` alone decides where things are: an episode is a function of its seed."""

    def __init__(self, task: str) -> None:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

        self.task = task
        build: Any = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-goal-observable"]
        self._env: Any = build(seed=0)
        self._seen = numpy.zeros(39)

    def reset(self, seed: int) -> Float[Tensor, " observed"]:
        self._env.seed(seed)
        self._env.seeded_rand_vec, self._env._freeze_rand_vec = True, False
        self._seen = self._env.reset()[0]
        return _observation(self._seen)

    def step(self, action: Float[Tensor, " acted"]) -> tuple[Float[Tensor, " observed"], bool]:
        self._seen, _, _, _, info = self._env.step(action.clamp(-1, 1).numpy())
        return _observation(self._seen), bool(info["success"])

    def expert(self) -> Float[Tensor, " acted"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it asks for more than 1; the arm clips that, and so do we
            action = self._expert.get_action(self._seen)
        return torch.from_numpy(numpy.clip(action, -1, 1).astype("float32"))

    def close(self) -> None:
        self._env.close()

    @cached_property
    def _expert(self) -> Any:
        from metaworld.policies import ENV_POLICY_MAP

        return ENV_POLICY_MAP[self.task]()


def _observation(seen: Any) -> Float[Tensor, " observed"]:
    return torch.from_numpy(numpy.concatenate((seen[_NOW], seen[_GOAL])).astype("float32"))


@dataclass(frozen=True)
class MetaWorldEpisodes:
    """The demonstrations of one task, and the episodes in which its expert failed."""

    episodes: list[Episode]
    problems: list[str]


def demonstrate(task: str, count: int, seed: Callable[[int], int], noise: float, limit: int) -> MetaWorldEpisodes:
    """`count` episodes in which the expert succeeds, of seeds `seed(0)`, `seed(1)` …; kept in the cache.

    Errors: `ValueError` if it never does.
    """
    seeds = [seed(number) for number in range(_TRIES * count)]
    key = digest_of("robot.metaworld", version("metaworld"), version("mujoco"), task, str(count), str(seeds), str(noise), str(limit))
    path = cache_folder() / "robot" / f"{task}-{key}.safetensors"
    try:
        stored = read_tensors(path)
    except (FileNotFoundError, DamagedFile):
        stored = _perform(task, count, seeds, noise, limit)
        write_tensors(path, stored)
    lengths = stored["lengths"].tolist()
    if not lengths:
        raise ValueError(
            f"the expert of '{task}' failed in all of {len(seeds)} episodes: raise `limit` ({limit}) or lower `noise` ({noise})"
        )
    parts = zip(stored["observations"].split(lengths), stored["actions"].split(lengths), stored["seeds"].tolist())
    episodes = [Episode(seen, done, f"{task}-{number}", task, SENTENCES[task]) for seen, done, number in parts]
    problems = [f"{task}: the expert failed in the episode of seed {number}; left out" for number in stored["failed"].tolist()]
    if len(episodes) < count:
        problems.append(f"{task}: the expert succeeded in {len(episodes)} of {len(seeds)} episodes, {count} were wanted")
    return MetaWorldEpisodes(episodes, problems)


def _perform(task: str, count: int, seeds: list[int], noise: float, limit: int) -> dict[str, Tensor]:
    world = MetaWorldWorld(task)
    seen, done, lengths, succeeded, failed = [torch.zeros(0, 21)], [torch.zeros(0, ACTION)], [], [], []
    for number in seeds:
        observations, actions, success = _episode(world, number, noise, limit)
        if not success:
            failed.append(number)
            continue
        seen.append(observations)
        done.append(actions)
        lengths.append(len(actions))
        succeeded.append(number)
        if len(lengths) == count:
            break
    world.close()
    numbers = {"lengths": lengths, "seeds": succeeded, "failed": failed}
    return {name: torch.tensor(x, dtype=torch.int64) for name, x in numbers.items()} | {
        "observations": torch.cat(seen),
        "actions": torch.cat(done),
    }


def _episode(world: MetaWorldWorld, seed: int, noise: float, limit: int) -> tuple[Tensor, Tensor, bool]:
    """What the expert saw, what it did, and whether it was done in time."""
    disturbance = noise * random.normal(torch.tensor([seed]), "expert", 0, 0, limit, ACTION)[0]
    observation, seen, done, success = world.reset(seed), [], [], False
    for disturbed in disturbance:
        action = world.expert()
        seen.append(observation)
        done.append(action)
        observation, success = world.step(action + disturbed)
        if success:
            break
    return torch.stack(seen), torch.stack(done), success
