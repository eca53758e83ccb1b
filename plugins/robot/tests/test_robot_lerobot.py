"""LeRobot's layout: written, read, and damaged in every way that disks and people know."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet
import pytest
import torch

from anylatent.testing import DatasetCase, DatasetContract
from anylatent.testing.comparing import difference
from anylatent_robot.chunk import Episode
from anylatent_robot.demonstrations import Recorded
from anylatent_robot.lerobot_data import LeRobot
from anylatent_robot.lerobot_reading import read_lerobot
from anylatent_robot.lerobot_writing import write_lerobot
from anylatent_robot.modality import Robot

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def some_episodes(count: int = 8) -> Recorded:
    generator = torch.Generator().manual_seed(3)
    episodes = []
    for number in range(count):
        steps = 4 + number
        observations, actions = (torch.randn(steps, channels, generator=generator) for channels in (3, 2))
        sentence = ("push it", "pull it")[number % 2]
        episodes.append(Episode(observations, actions, f"episode-{number}", sentence, sentence))
    return Recorded(episodes, 30.0, [])


def read(folder: Path, observation: tuple[str, ...] = ("observation.state",), action: str = "action") -> Recorded:
    return read_lerobot(folder, observation, action)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_lerobot(some_episodes(), tmp_path / "mine")


class TestLeRobot(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> DatasetCase:
        folder = write_lerobot(some_episodes(), tmp_path_factory.mktemp("lerobot") / "mine")
        config = LeRobot(path=str(folder), horizon=3, history=1, test_share=0.3)
        return DatasetCase(config, Robot(data=config))

    def test_whole_episodes_are_held_out(self, splits) -> None:
        """Chunks of one episode are nearly the same: none of an episode that is trained on may be tested on."""
        train, test = ({dataset[i].id.split("/")[0] for i in range(len(dataset))} for dataset in splits)
        assert len(train) == 5
        assert len(test) == 3
        assert not train & test

    def test_the_task_is_the_sentence(self, splits) -> None:
        assert splits[0][0].conditions["task"] == splits[0][0].conditions["caption"] in ("push it", "pull it")


def test_lerobot_itself_opens_it_and_is_opened(folder: Path, tmp_path: Path) -> None:
    """Where the package is installed: its chunks are ours, at an episode's end too; and what it writes is read."""
    theirs = pytest.importorskip("lerobot.datasets.lerobot_dataset", reason="lerobot is not installed").LeRobotDataset
    written = some_episodes().episodes
    opened = theirs("me/mine", root=folder, delta_timestamps={"action": [0, 1 / 30, 2 / 30], "observation.state": [-1 / 30, 0]})
    assert (opened.num_episodes, opened.num_frames, opened.fps) == (8, 60, 30)
    index = 0
    for episode in written:
        last = len(episode.actions) - 1
        for step in range(last + 1):
            frame = opened[index + step]
            assert torch.equal(frame["action"], episode.actions[[min(step + ahead, last) for ahead in range(3)]])
            assert torch.equal(frame["observation.state"], episode.observations[[max(step - 1, 0), step]])
            assert frame["task"] == episode.caption
        index += last + 1
    features = {name: {"dtype": "float32", "shape": (width,), "names": None} for name, width in (("observation.state", 3), ("action", 2))}
    own = theirs.create("me/theirs", fps=30, root=tmp_path / "theirs", features=features, use_videos=False)
    for episode in written:
        for seen, done in zip(episode.observations.numpy(), episode.actions.numpy(), strict=True):
            own.add_frame({"observation.state": seen, "action": done, "task": episode.caption})
        own.save_episode()
    own.finalize()
    found = read(tmp_path / "theirs")
    assert not (apart := difference(found.episodes, written)), apart
    assert found.problems == []


@pytest.mark.parametrize("file_megabytes", [100.0, 0.0015])
def test_what_is_written_is_read(tmp_path: Path, file_megabytes: float) -> None:
    """In one file or in many: the same numbers, bit for bit, tasks and rate."""
    written = some_episodes()
    found = read(write_lerobot(written, tmp_path / "mine", file_megabytes=file_megabytes))
    assert len(list((tmp_path / "mine" / "data").glob("*/*.parquet"))) == (1 if file_megabytes > 1 else 3)
    assert not (apart := difference(found.episodes, written.episodes)), apart
    assert (found.hz, found.problems) == (30.0, [])


def test_the_layout_is_lerobots(folder: Path) -> None:
    """Names, types and numbers as its version 3.0 has them, checked file by file."""
    info = json.loads((folder / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"]) == ("v3.0", 30, 8, 60)
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": None}
    data = parquet.ParquetFile(folder / DATA)
    assert set(data.schema_arrow.names) == set(info["features"])
    assert data.num_row_groups == 8, "an episode is a row group"
    table = data.read()
    assert table.schema.field("action").type == pyarrow.list_(pyarrow.float32(), 2)
    assert table.column("index").to_pylist() == list(range(60))
    assert table.column("timestamp")[5].as_py() == pytest.approx(1 / 30), "the second frame of the second episode"
    episodes = parquet.read_table(folder / EPISODES).to_pylist()
    assert [row["dataset_to_index"] - row["dataset_from_index"] for row in episodes] == [row["length"] for row in episodes]
    assert episodes[1]["tasks"] == ["pull it"]
    assert {"data/chunk_index", "data/file_index", "meta/episodes/chunk_index", "meta/episodes/file_index"} <= set(episodes[0])
    stats = json.loads((folder / "meta/stats.json").read_text())
    assert stats["action"]["count"] == [60]
    actions = torch.cat([episode.actions for episode in some_episodes().episodes])
    assert stats["action"]["mean"] == pytest.approx(actions.mean(0).tolist(), abs=1e-5)
    tasks = parquet.read_table(folder / "meta/tasks.parquet")
    assert tasks.column("task").to_pylist() == ["push it", "pull it"]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_a_folder_of_lerobots_own_is_read(tmp_path: Path) -> None:
    """As lerobot 0.4 writes it with pandas: unnamed task index, lists of any length, double numbers, a camera, frames unsorted."""
    info = {
        "codebase_version": "v3.0",
        "fps": 10,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "features": {
            "observation.state": {"dtype": "float64", "shape": [2], "names": ["x", "y"]},
            "observation.effort": {"dtype": "float32", "shape": [1], "names": None},
            "observation.images.top": {"dtype": "video", "shape": [3, 8, 8], "names": ["c", "h", "w"]},
            "action": {"dtype": "float32", "shape": [1], "names": None},
        },
    }
    files = {
        "data/chunk-002/file-007.parquet": {
            "observation.state": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
            "observation.effort": [7.0, 8.0, 9.0],
            "action": [0.1, 0.2, 0.3],
            "episode_index": [4, 4, 4],
            "frame_index": [1, 0, 2],
        },
        "meta/episodes/chunk-000/file-000.parquet": {
            "episode_index": [4],
            "length": [3],
            "tasks": [["stack the cups"]],
            "data/chunk_index": [2],
            "data/file_index": [7],
        },
        "meta/tasks.parquet": {"task_index": [0], "__index_level_0__": ["stack the cups"]},
    }
    for name, columns in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.table(columns), tmp_path / name)
    (tmp_path / "meta/info.json").write_text(json.dumps(info))
    found = read(tmp_path, ("observation.state", "observation.effort"))
    assert found.episodes[0].observations.tolist() == [[3, 4, 8], [1, 2, 7], [5, 6, 9]]
    assert found.episodes[0].actions.flatten().tolist() == pytest.approx([0.2, 0.1, 0.3])
    assert found.episodes[0].caption == "stack the cups"
    assert found.problems == []
    assert found.unread == [f"{tmp_path / 'meta' / 'info.json'}: camera observation.images.top (video) is not read"]


def _rewrite(path: Path, change: Callable[[dict], dict]) -> None:
    table = parquet.read_table(path)
    parquet.write_table(pyarrow.table(change({name: table.column(name) for name in table.column_names})), path)


def _not_a_number(columns: dict) -> dict:
    actions = columns["action"].to_pylist()
    actions[9] = [float("nan"), 1.0]  # the first frame of episode 2
    actions[4] = [float("inf"), 1.0]  # and of episode 1
    return columns | {"action": actions}


def test_actions_that_are_no_numbers_cost_their_episode(folder: Path) -> None:
    _rewrite(folder / DATA, _not_a_number)
    found = read(folder)
    assert len(found.episodes) == 6
    assert found.problems == [
        f"{folder / DATA}: episode 1 is left out: 1 of its actions are not finite",
        f"{folder / DATA}: episode 2 is left out: 1 of its actions are not finite",
    ]
    with pytest.raises(ValueError, match=r"file-000\.parquet: episode 1 is left out: 1 of its actions are not finite"):
        LeRobot(path=str(folder), strict=True).build("train")
    assert LeRobot(path=str(folder)).build("train").problems == tuple(found.problems)


def test_missing_frames_cost_their_episode(folder: Path) -> None:
    _rewrite(folder / DATA, lambda columns: {name: column.slice(1) for name, column in columns.items()})
    found = read(folder)
    assert len(found.episodes) == 7
    assert found.problems == [f"{folder / DATA}: episode 0 is left out: it has 3 rows, its metadata says 4"]


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "Parquet"),
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: path.write_bytes(b""), "0 bytes|size"),
        (lambda path: _rewrite(path, lambda columns: {n: x for n, x in columns.items() if n != "action"}), "there is no column 'action'"),
        (
            lambda path: _rewrite(path, lambda columns: columns | {"action": columns["frame_index"]}),
            "22 numbers in 22 rows, info.json says 2",
        ),
        (lambda path: _rewrite(path, lambda columns: columns | {"action": ["fast"] * 22}), "action|fast|convert"),
    ],
    ids=["truncated", "missing", "empty", "without a column", "of another width", "of text"],
)
def test_a_damaged_file_costs_its_episodes(tmp_path: Path, damage: Callable[[Path], object], what: str) -> None:
    """One of three files: the episodes of the others are there, and the file and what it held are named."""
    folder = write_lerobot(some_episodes(), tmp_path / "mine", file_megabytes=0.0015)
    path = folder / DATA
    damage(path)
    found = read(folder)
    assert [episode.id for episode in found.episodes] == ["episode-4", "episode-5", "episode-6", "episode-7"]
    assert len(found.problems) == 1
    assert found.problems[0].startswith(f"{path} cannot be read, episodes 0, 1, 2, 3 are left out: ")
    assert re.search(what, found.problems[0]), found.problems[0]


def test_damaged_metadata_are_named(folder: Path) -> None:
    whole = (folder / EPISODES).read_bytes()
    (folder / EPISODES).write_bytes(whole[:100])
    with pytest.raises(ValueError, match=r"episodes lists no episode, .*; the first problem: .*file-000\.parquet cannot be read, its"):
        read(folder)
    (folder / EPISODES).write_bytes(whole)
    (folder / "meta/tasks.parquet").unlink()
    assert len(read(folder).episodes) == 8
    assert "tasks.parquet cannot be read, tasks may have no sentence" in read(folder).problems[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: info | {"codebase_version": "v2.1"}, r"is of version v2\.1, expected v3\.0: lerobot's `convert_dataset_v21_to_v30`"),
        (lambda info: {"fps": 3}, r"info\.json is damaged: expected JSON with `codebase_version`, `fps` and `features`"),
        (lambda info: [], r"info\.json is damaged"),
        (lambda info: info | {"features": {}}, r"feature 'observation\.state' is not a row of numbers \(there is none\); it has none"),
    ],
)
def test_other_versions_and_features_are_refused(folder: Path, change: Callable, message: str) -> None:
    path = folder / "meta/info.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=message):
        read(folder)


def test_what_cannot_be_used_says_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere is no LeRobot data set: it has no meta/info\.json\. `path` is the folder"):
        LeRobot(path=str(tmp_path / "nowhere")).build("train")
    with pytest.raises(ValueError, match=r"feature 'gripper' is not a row of numbers \(there is none\); it has action, observation\.state"):
        read(folder, ("gripper",))
    with pytest.raises(ValueError, match=r"feature 'frame_index' is not a row of numbers \(it is int64 of shape \[1\]\)"):
        read(folder, ("frame_index",))
    one = write_lerobot(some_episodes(1), tmp_path / "one")
    with pytest.raises(ValueError, match=r"one holds 1 different episodes that can be read, expected 2 or more"):
        LeRobot(path=str(one)).build("train")


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs at least one episode, given none"):
        write_lerobot(Recorded([], 30.0, []), tmp_path / "none")
    with pytest.raises(ValueError, match=r"`fps` is a whole number, given 12\.5"):
        write_lerobot(Recorded(some_episodes().episodes, 12.5, []), tmp_path / "odd")
    other = Episode(torch.zeros(3, 9), torch.zeros(3, 2), "other")
    with pytest.raises(ValueError, match=r"the same channels, given \(observations, actions\) \[\(3, 2\), \(9, 2\)\]"):
        write_lerobot(Recorded([*some_episodes().episodes, other], 30.0, []), tmp_path / "mixed")
    assert not list(tmp_path.iterdir())


def test_recordings_have_no_world(folder: Path) -> None:
    config = LeRobot(path=str(folder))
    assert config.world_tasks() == []
    for ask in (lambda: config.world("push it"), lambda: config.trial_seed(0)):
        with pytest.raises(ValueError, match=r"'robot\.lerobot' holds recorded demonstrations and no world to act in"):
            ask()
