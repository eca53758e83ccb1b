"""Robot actions for anylatent: demonstrations of simulated and recorded robots, a policy on the shared engine, success rates."""

from typing import TYPE_CHECKING, Any

from anylatent.hookspecs import hookimpl
from anylatent.node import Node

if TYPE_CHECKING:
    from anylatent_robot.policy import Policy

__all__ = ["Policy", "anylatent_api", "anylatent_components", "anylatent_report_section"]

anylatent_api = 1


@hookimpl
def anylatent_components() -> list[type[Node]]:
    """Every component of this plugin."""
    from anylatent_robot.action_error import ActionError
    from anylatent_robot.chunks import ChunksConfig
    from anylatent_robot.latency import Latency
    from anylatent_robot.lerobot_data import LeRobot
    from anylatent_robot.metaworld_data import MetaWorld
    from anylatent_robot.modality import Robot
    from anylatent_robot.success import Success

    return [Robot, MetaWorld, LeRobot, ChunksConfig, Success, ActionError, Latency]


@hookimpl
def anylatent_report_section(run: Any) -> tuple[str, str] | None:
    """For runs of robots in a world: the policy's way beside the expert's."""
    if run.recipe.modality.kind != "robot":
        return None
    from anylatent_robot.report_section import rollouts_section

    return rollouts_section(run)


def __getattr__(name: str) -> Any:
    """`Policy`, imported when it is asked for: listing a plugin imports no torch."""
    if name == "Policy":
        from anylatent_robot.policy import Policy

        return Policy
    raise AttributeError(name)
