"""A recipe of this plugin from beginning to end, and the policy of its run."""

from pathlib import Path

import pytest
import torch

from anylatent import recipe
from anylatent.execution import execute
from anylatent.run import Run
from anylatent_robot.policy import Policy

SMOKE = Path(__file__).parents[3] / "recipes" / "robot" / "smoke.yaml"


@pytest.mark.slow
def test_a_run_acts(tmp_path: Path) -> None:
    """Trained, judged, reported with its rollouts; its policy acts by its own conditions and sampling."""
    made = Run.create(recipe.load(SMOKE), tmp_path / "run")
    for _ in execute(made):
        pass
    assert "Policy beside expert" in (tmp_path / "run" / "report.html").read_text()
    policy = Policy.of(Run.open(tmp_path / "run"), execute=2, warm=0.5, later_steps=1, steps=3)
    policy.begin([0, 1], [{"task": "reach-v3", "caption": "move the hand to the goal"}] * 2)
    actions = torch.stack([policy.act(torch.zeros(2, 21)) for _ in range(6)])
    assert actions.shape == (6, 2, 4)
    assert actions.abs().max() <= 1
    assert len(policy.latency.chunks) == 3
