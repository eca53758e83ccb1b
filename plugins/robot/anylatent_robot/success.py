"""Whether the policy does its tasks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.intervals import wilson
from anylatent_robot.demonstrations import Demonstrations

if TYPE_CHECKING:
    from anylatent_robot.policy import Policy
    from anylatent_robot.rollout import Actor


class Success(Metric, kind="robot.success"):
    """The share of episodes in which the policy does its task in time: by task, and of all; with Wilson's interval (1927).

    The episodes' seeds are none of a demonstration. The floor is the expert's share in the same episodes; the control acts
    at random. Each measure's note says how many steps the successes took.
    """

    episodes: int = Field(default=25, ge=1, description="Episodes of each task.")
    control: int = Field(default=10, ge=0, description="Of these, episodes in which chance acts, to compare.")
    swapped: int = Field(
        default=0,
        ge=0,
        description="Of these, episodes in which the policy is asked for the next task instead, to compare.",
    )
    execute: int = Field(default=4, ge=1, description="Actions of each chunk that are done before the next is made.")
    warm: float = Field(default=1.0, gt=0, le=1, description="Time to which the last chunk is noised to begin the next; 1 forgets it.")
    limit: int = Field(default=500, ge=1, le=500, description="Control steps after which an episode has failed.")

    min_n: ClassVar[int] = 1
    asks_denoiser: ClassVar[bool] = True

    def compute(self, evidence: Evidence) -> list[Measure]:
        """A measure a task, one of all tasks, and the controls. Errors: `TooFewSamples`; `ValueError` without a world or a model."""
        self.require(len(evidence.samples))
        data = world_data(evidence, self.kind)
        policy = policy_of(evidence, self.kind, self.execute, self.warm)
        tasks = data.world_tasks()
        counts = [self._task(data, task, tasks[(number + 1) % len(tasks)], policy) for number, task in enumerate(tasks)]
        named = zip((task["task"] for task in data.world_tasks()), counts)
        fingerprint = f"{data.key()} {self.key()}"
        measures = [_share(f"success {task}", each["policy"], each["expert"], fingerprint, each["policy note"]) for task, each in named]
        who_acts = ("policy", "expert", "chance", "swapped")
        everything = {who: [sum(column) for column in zip(*(each[who] for each in counts))] for who in who_acts}
        if len(measures) > 1:
            measures.append(_share("success of all tasks", everything["policy"], everything["expert"], fingerprint, f"{len(counts)} tasks"))
        if self.control:
            measures.append(_share("success at random", everything["chance"], None, fingerprint, "the control: uniform actions", "neither"))
        if self.swapped and len(tasks) > 1:
            measures += self._swapped([task["task"] for task in tasks], counts, everything["swapped"], fingerprint)
        return measures

    def _swapped(self, tasks: list[str], counts: list[dict[str, Any]], all_of_them: list[int], fingerprint: str) -> list[Measure]:
        """The world of each task, and the policy asked for the next task of the list: what it does unasked."""
        measures = []
        for number, (task, each) in enumerate(zip(tasks, counts, strict=True)):
            name = f"success {task}, asked for {tasks[(number + 1) % len(tasks)]}"
            measures.append(_share(name, each["swapped"], None, fingerprint, each["swapped note"], "neither"))
        note = "the policy was asked for the next task of the list, in the world of this one"
        return [*measures, _share("success asked for another task", all_of_them, None, fingerprint, note, "neither")]

    def _task(self, data: Demonstrations, task: Mapping[str, Any], other: Mapping[str, Any], policy: "Policy") -> dict[str, Any]:
        """Successes and episodes, by who acts."""
        from anylatent_robot.rollout import Chance, Expert, roll_out

        worlds = [data.world(task["task"]) for _ in range(self.episodes)]
        seeds = [data.trial_seed(number) for number in range(self.episodes)]
        out: dict[str, Any] = {}
        actors: list[tuple[str, Actor, Mapping[str, Any], int]] = [
            ("policy", policy, task, self.episodes),
            ("expert", Expert(worlds), task, self.episodes),
            ("chance", Chance(policy.tokenizer.acted), task, min(self.control, self.episodes)),
            ("swapped", policy, other, min(self.swapped, self.episodes)),
        ]
        for who, actor, asked, count in actors:
            made = roll_out(worlds, actor, seeds[:count], asked, self.limit, policy.tokenizer.hz) if count else []
            steps = sorted(len(rollout.actions) for rollout in made if rollout.success)
            out[who] = [len(steps), count]
            out[f"{who} note"] = f"done in {steps[len(steps) // 2]} steps (median)" if steps else ""
        for world in worlds:
            world.close()
        return out


def world_data(evidence: Evidence, kind: str) -> Demonstrations:
    """The data set, if there is a world to act in. Errors: `ValueError`."""
    data = evidence.modality.data
    if not isinstance(data, Demonstrations) or not data.world_tasks():
        raise ValueError(f"{kind} tries the policy in a world, and data set '{data.kind}' has none: use it with 'robot.metaworld'")
    return data


def policy_of(evidence: Evidence, kind: str, execute: int, warm: float = 1.0) -> "Policy":
    """The policy that is judged. Errors: `ValueError` if the evidence has no model, or its tokenizer makes no chunks."""
    from anylatent_robot.chunks_tokenizer import ChunksTokenizer
    from anylatent_robot.policy import Policy

    if evidence.model is None or not isinstance(evidence.tokenizer, ChunksTokenizer):
        raise ValueError(f"{kind} judges a trained model by its acts: it needs a run with the tokenizer 'robot.chunks'")
    names = sorted({name for asked in evidence.asked for name in asked})
    return Policy(evidence.tokenizer, evidence.model, min(execute, evidence.tokenizer.horizon), warm, names=names)


def _share(name: str, counts: list[int], floor: list[int] | None, fingerprint: str, note: str, better: Any = "higher") -> Measure:
    value, (low, high) = counts[0] / counts[1], wilson(*counts)
    reached = floor[0] / floor[1] if floor else None
    return Measure(name, value, low, high, counts[1], better, reached, fingerprint, note)
