"""Writes demonstrations in LeRobot's data set layout, version 3.0, so that its own tools open them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet as parquet

from anylatent.files import whole_folder, write_json
from anylatent_robot.chunk import Episode
from anylatent_robot.demonstrations import Recorded

_STATE, _ACTION = "observation.state", "action"
_COUNTED = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64"}
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def write_lerobot(recorded: Recorded, folder: Path | str, robot: str = "unknown", file_megabytes: float = 100.0) -> Path:
    """Write the episodes as a LeRobot data set: the folder, whole; one that is there already is replaced.

    Features `observation.state` and `action` are float32; an episode is a row group; a file takes about `file_megabytes`.
    Errors: `ValueError` if there is no episode, the control rate is no whole number, or episodes have other channels.
    """
    folder, episodes = Path(folder), recorded.episodes
    if not episodes:
        raise ValueError("a LeRobot data set needs at least one episode, given none")
    if recorded.hz != int(recorded.hz):
        raise ValueError(f"LeRobot's `fps` is a whole number, given {recorded.hz} control steps a second")
    widths = {(episode.observations.shape[1], episode.actions.shape[1]) for episode in episodes}
    if len(widths) > 1:
        raise ValueError(f"all episodes of a data set have the same channels, given (observations, actions) {sorted(widths)}")
    tasks = list(dict.fromkeys(episode.caption or episode.task for episode in episodes))
    columns = [_columns(episode, number, episodes, tasks, recorded.hz) for number, episode in enumerate(episodes)]
    with whole_folder(folder) as part:
        files = _write_data(part, columns, file_megabytes)
        _write_episodes(part, columns, files, [episode.caption or episode.task for episode in episodes])
        _write_tasks(part, tasks)
        everything = {name: numpy.concatenate([each[name] for each in columns]) for name in columns[0]}
        write_json(part / "meta" / "stats.json", {name: _stats(x) for name, x in everything.items()})
        write_json(part / "meta" / "info.json", _info(everything, len(episodes), len(tasks), int(recorded.hz), robot, file_megabytes))
    return folder


def _columns(episode: Episode, number: int, episodes: Sequence[Episode], tasks: Sequence[str], hz: float) -> dict[str, Any]:
    """The columns of one episode, by feature."""
    steps = numpy.arange(len(episode.actions))
    first = sum(len(other.actions) for other in episodes[:number])
    return {
        _STATE: episode.observations.numpy().astype("float32"),
        _ACTION: episode.actions.numpy().astype("float32"),
        "timestamp": (steps / hz).astype("float32"),
        "frame_index": steps,
        "episode_index": numpy.full(len(steps), number),
        "index": first + steps,
        "task_index": numpy.full(len(steps), tasks.index(episode.caption or episode.task)),
    }


def _write_data(root: Path, columns: Sequence[Mapping[str, Any]], file_megabytes: float) -> list[int]:
    """The frames; the number of the file that each episode is in."""
    files, size, file = [], 0.0, 0
    for each in columns:
        own = sum(x.nbytes for x in each.values()) / 1e6
        if size and size + own > file_megabytes:
            file, size = file + 1, 0.0
        size += own
        files.append(file)
    for file in range(files[-1] + 1):
        tables = [_table(each) for each, its in zip(columns, files) if its == file]
        path = root / _DATA.format(chunk_index=0, file_index=file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with parquet.ParquetWriter(path, tables[0].schema) as writer:
            for table in tables:
                writer.write_table(table)
    return files


def _table(columns: Mapping[str, Any]) -> pyarrow.Table:
    arrays = {
        name: pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(x.reshape(-1)), x.shape[1]) if x.ndim == 2 else pyarrow.array(x)
        for name, x in columns.items()
    }
    return pyarrow.table(arrays)


def _write_episodes(root: Path, columns: Sequence[Mapping[str, Any]], files: Sequence[int], sentences: Sequence[str]) -> None:
    rows = []
    for number, (each, file, sentence) in enumerate(zip(columns, files, sentences)):
        first, length = int(each["index"][0]), len(each["index"])
        row = {"episode_index": number, "tasks": [sentence], "length": length, "data/chunk_index": 0, "data/file_index": file}
        row |= {"dataset_from_index": first, "dataset_to_index": first + length}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        rows.append(row | {f"stats/{name}/{what}": x for name, values in each.items() for what, x in _stats(values).items()})
    _write(pyarrow.Table.from_pylist(rows), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet")


def _write_tasks(root: Path, tasks: Sequence[str]) -> None:
    """With the sentences as the index of a pandas table, which is how LeRobot looks them up."""
    table = pyarrow.table({"task_index": pyarrow.array(range(len(tasks)), pyarrow.int64()), "task": list(tasks)})
    described = [
        {"name": name, "field_name": name, "pandas_type": pandas, "numpy_type": numpy_type, "metadata": None}
        for name, pandas, numpy_type in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": described,
        "creator": {"library": "pyarrow"},
        "pandas_version": "2",
    }
    _write(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), root / "meta" / "tasks.parquet")


def _write(table: pyarrow.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)


def _stats(values: Any) -> dict[str, Any]:
    """Numbers about the rows of a feature, a channel each."""
    rows = values.astype("float64").reshape(len(values), -1)
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    found |= {name: numpy.quantile(rows, q, axis=0) for name, q in _QUANTILES.items()}
    return {name: x.tolist() for name, x in found.items()} | {"count": [len(rows)]}


def _info(everything: Mapping[str, Any], episodes: int, tasks: int, fps: int, robot: str, file_megabytes: float) -> dict[str, Any]:
    features: dict[str, Any] = {
        name: {"dtype": "float32", "shape": [everything[name].shape[1]], "names": None} for name in (_STATE, _ACTION)
    }
    features |= {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in _COUNTED.items()}
    return {
        "codebase_version": "v3.0",
        "robot_type": robot,
        "total_episodes": episodes,
        "total_frames": len(everything["index"]),
        "total_tasks": tasks,
        "chunks_size": 1000,
        "data_files_size_in_mb": max(1, round(file_megabytes)),
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": _DATA,
        "video_path": None,
        "features": features,
    }
