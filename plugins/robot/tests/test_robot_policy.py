"""The policy, its worlds and the metrics that try it; in a toy world, so that nothing is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from anylatent.conditioners.base import Conditions
from anylatent.data import Split
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.generation import RowGenerator
from anylatent.joint.metrics import PartMetric
from anylatent.metrics.base import Evidence, Metric
from anylatent.paths.rectified import Rectified
from anylatent.random import seed_of, uniform
from anylatent.sampling import Sampling
from anylatent.solvers.euler import Euler
from anylatent.state import State
from anylatent.testing import MetricCase, MetricContract
from anylatent.testing.backbones import shaken
from anylatent_robot.action_error import ActionError
from anylatent_robot.chunk import Episode
from anylatent_robot.chunks import ChunksConfig
from anylatent_robot.chunks_tokenizer import ChunksTokenizer
from anylatent_robot.demonstrations import Demonstrations, Recorded
from anylatent_robot.latency import Latency
from anylatent_robot.modality import Robot
from anylatent_robot.policy import Policy
from anylatent_robot.rollout import Chance, Expert, roll_out
from anylatent_robot.sheet import draw_rollouts
from anylatent_robot.success import Success

SPEED = 0.1


class ToyWorld:
    """A point in a plane that is to reach a goal; it sees itself and the goal, and moves at most `SPEED` a step."""

    def reset(self, seed: int) -> torch.Tensor:
        self.state = 2 * uniform(torch.tensor([seed]), "toy", 0, 0, 4)[0] - 1
        return self.state.clone()

    def step(self, action: torch.Tensor) -> tuple[torch.Tensor, bool]:
        self.state = torch.cat((self.state[:2] + SPEED * action.clamp(-1, 1), self.state[2:]))
        return self.state.clone(), bool((self.state[:2] - self.state[2:]).abs().max() < SPEED / 2)

    def expert(self) -> torch.Tensor:
        return ((self.state[2:] - self.state[:2]) / SPEED).clamp(-1, 1)

    def close(self) -> None:
        self.state = torch.zeros(0)


class Toy(Demonstrations, kind="robot.toy"):
    """Demonstrations in the toy world."""

    def record(self, split: Split) -> Recorded:
        episodes = []
        for number in range(12):
            seed = seed_of("toy", split, number)
            rollout = roll_out([world := ToyWorld()], Expert([world]), [seed], {}, 60, 10.0)[0]
            episodes.append(Episode(rollout.observations[:-1], rollout.actions, f"{split}-{number}", "go", "go there"))
        return Recorded(episodes, 10.0, [])

    def world_tasks(self) -> list[dict[str, Any]]:
        return [{"task": "go", "caption": "go there"}]

    def world(self, task: str) -> ToyWorld:
        return ToyWorld()

    def trial_seed(self, number: int) -> int:
        return seed_of("toy", "trial", number)


class TwoTasks(Toy, kind="robot.two"):
    """Two names for the same thing."""

    def world_tasks(self) -> list[dict[str, Any]]:
        return [{"task": "go", "caption": "go there"}, {"task": "come", "caption": "come here"}]


DATA = Toy(horizon=4, history=1)


def fitted() -> ChunksTokenizer:
    train = DATA.build("train")
    tokenizer: Any = ChunksConfig().build(train[0].sample)
    tokenizer.fit([train[i].sample for i in range(len(train))])
    return tokenizer


class Knows:
    """In the place of a trained model: the expert's chunk, worked out from the observation that the state is given."""

    def __init__(self, tokenizer: ChunksTokenizer, right: bool = True) -> None:
        self.tokenizer, self.right = tokenizer, right
        self.calls: list[tuple[State, Sequence[Mapping[str, Any]], float]] = []

    def __call__(self, state: State, conditions: Sequence[Mapping[str, Any]], begin: float = 1.0) -> State:
        self.calls.append((state, conditions, begin))
        seen = self.tokenizer.observations.restore(state["observation"].values)[:, -1]
        place, goal, actions = seen[:, :2], seen[:, 2:], []
        for _ in range(self.tokenizer.horizon):
            actions.append(((goal - place) / SPEED).clamp(-1, 1) * (1 if self.right else -1))
            place = place + SPEED * actions[-1]
        return state.with_values({"action": self.tokenizer.actions.normalise(torch.stack(actions, 1))})


def untrained(tokenizer: ChunksTokenizer, steps: int = 2, rows: int = 64) -> RowGenerator:
    """A denoiser with weights that do something, behind the engine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = DiTConfig(depth=1, width=32, heads=2).build(tokenizer.specs, cross=False)
    denoiser = Denoiser(backbone, Conditions(32, {}), {spec.name: Corruption(Rectified(), "velocity") for spec in tokenizer.specs})
    shaken(denoiser, size=0.1)
    return RowGenerator(denoiser.eval().requires_grad_(False), Sampling(steps=steps, solver=Euler(), batch=rows), noised=False)


def evidence(right: bool = True) -> Evidence:
    tokenizer = fitted()
    train, test = DATA.build("train"), DATA.build("test")
    samples = [test[i].sample for i in range(40)]
    return Evidence(Robot(data=DATA), samples, [{"task": "go"}] * 40, train, test, tokenizer, model=Knows(tokenizer, right))


def rolled(policy: Any, seeds: Sequence[int], limit: int = 40) -> list[Any]:
    return roll_out([ToyWorld() for _ in seeds], policy, seeds, {"task": "go"}, limit, 10.0)


# --- the policy ------------------------------------------------------------------------------------------------------


def test_a_policy_that_knows_succeeds() -> None:
    tokenizer = fitted()
    made = rolled(Policy(tokenizer, Knows(tokenizer), execute=2), range(10))
    assert all(rollout.success for rollout in made)
    assert all(len(rollout.observations) == len(rollout.actions) + 1 for rollout in made)
    assert not any(rollout.success for rollout in rolled(Policy(tokenizer, Knows(tokenizer, right=False)), range(10)))


@pytest.mark.parametrize("execute", [1, 3, 4])
def test_the_horizon_recedes(execute: int) -> None:
    """A chunk is made each `execute` steps, from what is seen then, and of the rows that are not done."""
    tokenizer = fitted()
    model = Knows(tokenizer)
    policy = Policy(tokenizer, model, execute)
    rollout = rolled(policy, [3])[0]
    assert len(model.calls) == -(-len(rollout.actions) // execute)
    for number, (state, _, _) in enumerate(model.calls):
        torch.testing.assert_close(
            tokenizer.observations.restore(state["observation"].values)[0, 0], rollout.observations[number * execute]
        )
    assert len(policy.latency.steps) == len(rollout.actions)
    assert len(policy.latency.chunks) == len(model.calls)
    assert f"(n = {len(rollout.actions)}); a chunk" in str(policy.latency)


def test_an_episode_is_the_same_alone_and_among_others() -> None:
    """Whoever else acts, done or not: noise is of the episode's seed and the chunk's number."""
    tokenizer = fitted()
    together = rolled(Policy(tokenizer, untrained(tokenizer), execute=3, warm=0.5, names=[]), [5, 6, 7], limit=8)
    for seed, whole in zip((5, 6, 7), together, strict=True):
        alone = rolled(Policy(tokenizer, untrained(tokenizer), execute=3, warm=0.5, names=[]), [seed], limit=8)[0]
        torch.testing.assert_close(alone.actions, whole.actions, atol=1e-4, rtol=0)
    assert not torch.allclose(together[0].actions, together[1].actions, atol=1e-3)


def test_a_warm_chunk_begins_from_the_rest_of_the_last() -> None:
    """Shifted by what was done, its last action held; made by `later`."""
    tokenizer = fitted()
    first, later = Knows(tokenizer), Knows(tokenizer)
    policy = Policy(tokenizer, first, execute=3, warm=0.4, later=later)
    policy.begin([3], [{}])
    for _ in range(6):
        policy.act(torch.tensor([[-1.0, -1.0, 1.0, 1.0]]))
    assert [begin for _, _, begin in first.calls] == [1.0]
    assert [begin for _, _, begin in later.calls] == [0.4]
    assert not first.calls[0][0]["action"].values.any()
    chunk = first(first.calls[0][0], [{}])["action"].values[0]
    torch.testing.assert_close(later.calls[0][0]["action"].values[0], chunk[[3, 3, 3, 3]])


def test_warmth_decides_how_much_of_the_last_chunk_stays() -> None:
    """Through the engine: from time 0.05 next to nothing changes, from 1 the guess does not matter."""
    tokenizer = fitted()
    generate = untrained(tokenizer)
    seeds, observations = torch.tensor([1]), torch.tensor([[[0.1, 0.2, -0.3, 0.4]]])
    guesses = torch.full((1, 4, 2), 0.5), torch.full((1, 4, 2), -0.5)

    def made(guess: torch.Tensor, begin: float) -> torch.Tensor:
        return generate(tokenizer.start(observations, seeds, guess), [{}], begin)["action"].values

    low, high = ((made(guesses[0], begin) - made(guesses[1], begin)).abs().max() for begin in (0.05, 1.0))
    apart = (tokenizer.actions.normalise(guesses[0]) - tokenizer.actions.normalise(guesses[1])).abs().max()
    assert low > 0.7 * apart
    assert high < 1e-5


def test_conditions_are_those_that_the_run_knows() -> None:
    tokenizer = fitted()
    model = Knows(tokenizer)
    policy = Policy(tokenizer, model, names=["caption"])
    policy.begin([0], [{"task": "go", "caption": "go there"}])
    policy.act(torch.zeros(1, 4))
    assert model.calls[0][1] == [{"caption": "go there"}]


def test_what_a_policy_cannot_do_is_said() -> None:
    tokenizer = fitted()
    model = Knows(tokenizer)
    for execute in (5, -1):
        with pytest.raises(ValueError, match=rf"execute {execute}: expected 1 to 4, the actions of a chunk"):
            Policy(tokenizer, model, execute)
    with pytest.raises(ValueError, match=r"warm 0: expected a time above 0 .* up to 1"):
        Policy(tokenizer, model, warm=0)
    with pytest.raises(ValueError, match=r"needs a run with the tokenizer 'robot\.chunks', given Linear"):
        Policy(torch.nn.Linear(1, 1), model)  # pyright: ignore[reportArgumentType]
    policy = Policy(tokenizer, model)
    policy.begin([0, 1], [{}, {}])
    for bad in (torch.zeros(2, 3), torch.zeros(1, 4), torch.full((2, 4), torch.nan)):
        with pytest.raises(ValueError, match=r"expected observations of 2 x 4 finite numbers, given \(\d, \d\)"):
            policy.act(bad)


def test_chance_is_by_seed_and_step() -> None:
    made = rolled(Chance(2), [1, 2], limit=5)
    again = rolled(Chance(2), [2], limit=5)[0]
    assert torch.equal(made[1].actions, again.actions)
    assert len({tuple(action) for rollout in made for action in rollout.actions.tolist()}) == 10
    assert made[0].actions.abs().max() <= 1


def test_more_episodes_than_worlds_take_turns() -> None:
    seeds = list(range(7))
    worlds = [ToyWorld() for _ in range(3)]
    made = roll_out(worlds, Expert(worlds), seeds, {}, 60, 10.0)
    assert [rollout.seed for rollout in made] == seeds
    assert all(rollout.success for rollout in made)
    assert torch.equal(made[6].actions, roll_out(worlds[:1], Expert(worlds[:1]), [6], {}, 60, 10.0)[0].actions)


def test_rollouts_are_drawn_beside_the_experts() -> None:
    tokenizer = fitted()
    ours = rolled(Policy(tokenizer, Knows(tokenizer, right=False)), [1], limit=10)[0]
    worlds = [ToyWorld()]
    experts = roll_out(worlds, Expert(worlds), [1], {}, 60, 10.0)[0]
    drawn = draw_rollouts([("go", ours, experts)])
    assert drawn.startswith(b"\x89PNG")
    assert drawn != draw_rollouts([("go", experts, experts)])


def test_the_report_shows_a_rollout_of_each_task(tmp_path: Path) -> None:
    """With how the recipe's metric acts; nothing for what has no world, is not trained, or is no robot."""
    import anylatent_robot
    from anylatent_robot.lerobot_data import LeRobot

    tokenizer = fitted()

    def run(data: Any, generator: Any, kind: str = "robot") -> Any:
        modality = SimpleNamespace(kind=kind, data=data)
        recipe = SimpleNamespace(modality=modality, evaluate=[Success(execute=3, limit=12)], conditions={})
        return SimpleNamespace(recipe=recipe, tokenizer=tokenizer, generator=generator)

    def missing(**changes: Any) -> Any:
        raise FileNotFoundError("no checkpoint yet")

    section = anylatent_robot.anylatent_report_section(run(DATA, lambda **changes: Knows(tokenizer)))
    assert section is not None
    assert section[0] == "Policy beside expert"
    assert "data:image/png;base64," in section[1]
    assert "3 of 4 actions are done of each chunk" in section[1]
    assert "not done in 12 steps" in section[1]
    assert anylatent_robot.anylatent_report_section(run(DATA, missing)) is None
    assert anylatent_robot.anylatent_report_section(run(LeRobot(path=str(tmp_path)), missing)) is None
    assert anylatent_robot.anylatent_report_section(run(DATA, missing, kind="image")) is None


# --- metrics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [Success(), ActionError(), Latency()], ids=lambda metric: metric.kind)
def test_what_acts_is_no_metric_of_one_part(metric: Metric) -> None:
    """Of joint samples a part has no denoiser of its own: said when the recipe is read, not after training."""
    with pytest.raises(ValidationError, match=f"metric 'part' hands on samples to be judged, and '{metric.kind}' asks the denoiser"):
        PartMetric(part="arm", metric=metric)


class TestSuccess(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> MetricCase:
        return MetricCase(Success(episodes=10, control=5, limit=30), evidence())

    def test_it_counts_successes(self, case: MetricCase, measures) -> None:
        """All of a policy that knows, none of one that does the opposite; the expert is the floor, chance the control."""
        by_name = {measure.name: measure for measure in measures}
        assert (by_name["success go"].value, by_name["success go"].n, by_name["success go"].floor) == (1.0, 10, 1.0)
        assert by_name["success go"].low == pytest.approx(0.722, abs=1e-3), "Wilson's interval of 10 of 10"
        assert by_name["success at random"].value < 0.5
        wrong = {measure.name: measure.value for measure in case.metric.compute(evidence(right=False))}
        assert wrong["success go"] == 0.0

    def test_a_policy_can_be_asked_for_another_task(self, case: MetricCase) -> None:
        """In the world of each task, the next one's conditions; a policy that does not read them does as well."""
        made = replace(case.evidence, modality=Robot(data=TwoTasks(horizon=4, history=1)), asked=[{"caption": "go there"}] * 40)
        model = Knows(fitted())
        measures = {m.name: m for m in Success(episodes=2, control=0, swapped=2, limit=30).compute(replace(made, model=model))}
        swapped = measures["success asked for another task"]
        assert (swapped.value, swapped.n, swapped.better) == (1.0, 4, "neither")
        assert [(name, m.n) for name, m in measures.items() if ", asked for " in name] == [
            ("success go, asked for come", 2),
            ("success come, asked for go", 2),
        ]
        told = [next(iter(conditions))["caption"] for _, conditions, _ in model.calls]
        changes = [caption for index, caption in enumerate(told) if index == 0 or told[index - 1] != caption]
        assert changes == ["go there", "come here", "go there"], "task 1 as asked, task 1 as 2 and 2 as asked, task 2 as 1"

    def test_nothing_to_try_is_said(self, case: MetricCase, tmp_path: Path) -> None:
        from anylatent_robot.lerobot_data import LeRobot

        recorded = Robot(data=LeRobot(path=str(tmp_path)))
        with pytest.raises(ValueError, match=r"robot\.success tries the policy in a world, and data set 'robot\.lerobot' has none"):
            case.metric.compute(replace(case.evidence, modality=recorded))
        with pytest.raises(ValueError, match=r"robot\.success judges a trained model by its acts: it needs a run"):
            case.metric.compute(replace(case.evidence, model=None))


class TestActionError(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> MetricCase:
        return MetricCase(ActionError(), evidence())

    def test_the_experts_own_chunks_have_no_error(self, case: MetricCase, measures) -> None:
        """But for where the expert ended before its chunk; another's have a large one."""
        own, others = measures
        assert own.value < 0.1
        assert others.value > 5 * own.value
        assert case.metric.compute(evidence(right=False))[0].value > 0.5


def test_latency_is_measured() -> None:
    """Of as many chunks as asked for; the 95th percentile is not below the median."""
    tokenizer = fitted()
    median, p95 = Latency(chunks=12, rows=2).compute(replace(evidence(), asked=[{}] * 40, tokenizer=tokenizer, model=untrained(tokenizer)))
    assert 0 < median.low <= median.value <= p95.value
    assert median.n == 12
    assert "2 robots at once" in median.note
