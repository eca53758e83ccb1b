"""What a report shows besides: the policy's way beside the expert's."""

import base64
from typing import TYPE_CHECKING

from anylatent_robot.demonstrations import Demonstrations
from anylatent_robot.success import Success

if TYPE_CHECKING:
    from anylatent.run import Run

_SHOWN = 4
"""Tasks, one episode each."""


def rollouts_section(run: "Run") -> tuple[str, str] | None:
    """A plot of one evaluation episode of each task (four at most); None for runs without a world, or not trained yet."""
    data = run.recipe.modality.data
    if not isinstance(data, Demonstrations) or not data.world_tasks():
        return None
    from anylatent_robot.policy import Policy
    from anylatent_robot.rollout import Expert, roll_out
    from anylatent_robot.sheet import draw_rollouts

    how = next((metric for metric in run.recipe.evaluate if isinstance(metric, Success)), Success.model_validate({}))
    try:
        policy = Policy.of(run, how.execute, how.warm)
    except FileNotFoundError:
        return None
    hz, seeds, pairs = policy.tokenizer.hz, [data.trial_seed(0)], []
    for task in data.world_tasks()[:_SHOWN]:
        world = data.world(task["task"])
        ours, experts = (roll_out([world], actor, seeds, task, how.limit, hz)[0] for actor in (policy, Expert([world])))
        world.close()
        pairs.append((task["task"], ours, experts))
    picture = base64.b64encode(draw_rollouts(pairs)).decode()
    html = (
        f'<img alt="Rollouts of the policy beside the expert\'s" style="max-width:100%" src="data:image/png;base64,{picture}">'
        "<p>One episode of each task, from a seed that no demonstration has. Solid: the policy; dashed: the expert. A dot: done; "
        f"a cross: not done in {how.limit} steps. Left: the hand's way from above; right: its coordinates over time.</p>"
        f"<p>Acting alone: {policy.latency}; {how.execute} of {policy.tokenizer.horizon} actions are done of each chunk.</p>"
    )
    return "Policy beside expert", html
