"""Meta-World on MuJoCo: few and short episodes."""

import pytest
import torch

from anylatent.testing import DatasetCase, DatasetContract
from anylatent_robot.lerobot_data import LeRobot
from anylatent_robot.lerobot_writing import write_lerobot
from anylatent_robot.metaworld_data import MetaWorld
from anylatent_robot.modality import Robot
from anylatent_robot.rollout import Chance, Expert, roll_out
from anylatent_robot.sentences import SENTENCES

SMALL = MetaWorld(tasks=("reach-v3", "drawer-close-v3"), demonstrations=2, held_out=1, noise=0.05)


class TestMetaWorld(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ANYLATENT_CACHE", str(tmp_path_factory.mktemp("cache")))
            yield DatasetCase(SMALL, Robot(data=SMALL))

    def test_as_many_episodes_as_asked_for(self, splits) -> None:
        for dataset, count in zip(splits, (2, 1), strict=True):
            tasks = [episode.task for episode in dataset.recorded.episodes]
            assert tasks == ["reach-v3"] * count + ["drawer-close-v3"] * count
        sample = splits[0][0].sample
        assert (sample.observations.shape, sample.actions.shape, sample.hz) == ((2, 21), (8, 4), 80.0)
        assert splits[0][0].conditions == {"task": "reach-v3", "caption": "move the hand to the goal"}

    def test_what_is_recorded_is_the_experts(self, splits) -> None:
        """Done without the disturbance, the recorded actions are what the expert does then."""
        episode = splits[0].recorded.episodes[0]
        world = SMALL.world("reach-v3")
        observation = world.reset(int(episode.id.rsplit("-", 1)[1]))
        torch.testing.assert_close(observation, episode.observations[0])
        torch.testing.assert_close(world.expert(), episode.actions[0])
        assert episode.actions.abs().max() <= 1
        world.close()

    def test_a_damaged_cache_is_made_anew(self, case: DatasetCase, splits) -> None:
        from anylatent.files import cache_folder

        files = sorted((cache_folder() / "robot").iterdir())
        assert len(files) == 4
        files[0].write_bytes(files[0].read_bytes()[:50])
        assert [case.config.build(split).fingerprint() for split in ("train", "test")] == [dataset.fingerprint() for dataset in splits]

    def test_they_go_through_lerobots_layout(self, splits, tmp_path) -> None:
        """Written and read: the same chunks, with the sentence for a task."""
        written = splits[0].recorded
        folder = write_lerobot(written, tmp_path / "mine", robot="sawyer")
        config = LeRobot(path=str(folder), horizon=8, history=2)
        read = {episode.observations.numpy().tobytes() for split in ("train", "test") for episode in config.record(split).episodes}
        assert read == {episode.observations.numpy().tobytes() for episode in written.episodes}
        assert config.build("train")[0].sample.hz == 80.0


def test_seeds_are_for_one_thing() -> None:
    """No evaluation episode, and no held-out one, begins as a demonstration does."""
    seeds = {kind: {SMALL._seed(kind, number) for number in range(500)} for kind in ("train", "test", "trial")}
    assert all(len(found) == 500 for found in seeds.values())
    assert not seeds["train"] & seeds["test"]
    assert not seeds["train"] & seeds["trial"]
    assert not seeds["test"] & seeds["trial"]
    assert SMALL.trial_seed(3) in seeds["trial"]
    assert MetaWorld(seed=1).trial_seed(3) != SMALL.trial_seed(3)


def test_an_episode_is_its_seeds() -> None:
    """Whatever happened in that world before; and the expert succeeds where chance does not."""
    worlds = [SMALL.world("drawer-open-v3")]
    first, other, again = roll_out(worlds, Expert(worlds), [5, 8, 5], {}, 200, 80.0)
    assert torch.equal(first.observations, again.observations)
    assert first.success
    assert not torch.equal(first.observations[0], other.observations[0])
    assert not roll_out(worlds, Chance(4), [5], {}, 30, 80.0)[0].success
    worlds[0].close()


def test_an_expert_that_never_succeeds_is_an_error(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path))
    hurried = MetaWorld(tasks=("reach-v3",), demonstrations=1, held_out=1, limit=3)
    with pytest.raises(ValueError, match=r"the expert of 'reach-v3' failed in all of 3 episodes: raise `limit` \(3\) or lower `noise`"):
        hurried.build("train")


def test_failed_episodes_are_counted(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some reaches are short enough for the limit, others are not."""
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path))
    dataset = MetaWorld(tasks=("reach-v3",), demonstrations=3, held_out=1, limit=40).build("train")
    failed = [problem for problem in dataset.problems if "the expert failed in the episode of seed" in problem]
    assert failed
    short = [problem for problem in dataset.problems if problem.endswith("of 9 episodes, 3 were wanted")]
    assert len(short) == (len(dataset.recorded.episodes) < 3)


def test_unknown_tasks_are_named() -> None:
    with pytest.raises(ValueError, match=r"no task 'door-opne-v3'; did you mean 'door-open-v3'\? \(it has 50, from 'assembly-v3' on\)"):
        MetaWorld(tasks=("door-opne-v3",))
    with pytest.raises(ValueError, match=r"a task is named twice: reach-v3, reach-v3"):
        MetaWorld(tasks=("reach-v3", "reach-v3"))


def test_every_task_has_its_own_words() -> None:
    from metaworld.policies import ENV_POLICY_MAP

    assert set(SENTENCES) == set(ENV_POLICY_MAP)
    assert len(set(SENTENCES.values())) == len(SENTENCES)
