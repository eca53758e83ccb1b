"""What the plugin offers, and that describing it costs nothing."""

import subprocess
import sys

from anylatent.node import Components
from anylatent_robot import anylatent_components


def test_every_kind_is_in_the_namespace() -> None:
    components = Components(anylatent_components())
    assert components.kinds("modality") == ["robot"]
    assert all(node.kind == "robot" or node.kind.startswith("robot.") for node in components)
    assert components.kinds("dataset") == ["robot.lerobot", "robot.metaworld"]
    assert components.kinds("tokenizer") == ["robot.chunks"]
    assert components.kinds("metric") == ["robot.action-error", "robot.latency", "robot.success"]


def test_describing_imports_nothing_heavy() -> None:
    """Recipes are read, and data sets listed, without torch, numpy, pyarrow, MuJoCo or matplotlib."""
    code = (
        "import sys, anylatent_robot\n"
        "anylatent_robot.anylatent_components()\n"
        "from anylatent_robot.metaworld_data import MetaWorld; MetaWorld(tasks=['door-open-v3']).world_tasks()\n"
        "print({'torch', 'numpy', 'pyarrow', 'mujoco', 'metaworld', 'gymnasium', 'matplotlib'} & set(sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


def test_the_policy_is_at_hand() -> None:
    """`anylatent_robot.Policy`, and nothing else that is not there."""
    import anylatent_robot
    from anylatent_robot.policy import Policy

    assert anylatent_robot.Policy is Policy
    assert not hasattr(anylatent_robot, "Polity")
