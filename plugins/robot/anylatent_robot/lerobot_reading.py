"""Reads LeRobot's data set layout, version 3.0: many episodes a parquet file, found through metadata.

Source: the layout that lerobot 0.4 and later write (Hugging Face, Apache-2.0; `src/lerobot/datasets`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet as parquet
import torch

from anylatent_robot.chunk import Episode
from anylatent_robot.demonstrations import Recorded


def read_lerobot(root: Path, observation: Sequence[str], action: str) -> Recorded:
    """All episodes that can be read, in order; the others are `problems`, the cameras `unread`.

    Errors: `FileNotFoundError` if there is no such data set; `ValueError` if it is of another version, has no such
    features, or nothing says which episodes there are.
    """
    info = _info(root)
    problems: list[str] = []
    for name in (*observation, action):
        _check_feature(root, info["features"], name)
    sentences = _sentences(root, problems)
    listed = _listed(root, problems)
    episodes: list[Episode] = []
    for (chunk, file), rows in _by_file(listed).items():
        path = root / info["data_path"].format(chunk_index=chunk, file_index=file)
        try:
            table = _table(path, dict.fromkeys((*observation, action, "episode_index", "frame_index")))
            columns = {name: _numbers(table, name, _width(info, name)) for name in (*observation, action)}
            index, frame = (table.column(name).to_numpy() for name in ("episode_index", "frame_index"))
        except (OSError, pyarrow.ArrowException, KeyError, ValueError) as error:
            numbers = ", ".join(str(row["episode_index"]) for row in rows)
            problems.append(f"{path} cannot be read, episodes {numbers} are left out: {_line(error)}")
            continue
        for row in rows:
            own = numpy.flatnonzero(index == row["episode_index"])
            own = own[numpy.argsort(frame[own], kind="stable")]
            seen = numpy.concatenate([columns[name][own] for name in observation], 1)
            wrong = _wrong(seen, columns[action][own], row["length"])
            if wrong:
                problems.append(f"{path}: episode {row['episode_index']} is left out: {wrong}")
                continue
            sentence = (row.get("tasks") or [sentences.get(0, "")])[0]
            episodes.append(
                Episode(
                    torch.from_numpy(seen), torch.from_numpy(columns[action][own]), f"episode-{row['episode_index']}", sentence, sentence
                )
            )
    cameras = [f"{name} ({feature['dtype']})" for name, feature in info["features"].items() if feature.get("dtype") in ("video", "image")]
    unread = [f"{root / 'meta' / 'info.json'}: camera {camera} is not read" for camera in cameras]
    return Recorded(episodes, float(info["fps"]), problems, unread)


def _info(root: Path) -> dict[str, Any]:
    path = root / "meta" / "info.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{root} is no LeRobot data set: it has no meta/info.json. `path` is the folder that holds `meta` and `data`"
        )
    try:
        info = json.loads(path.read_text())
        version, _ = str(info["codebase_version"]), (info["features"].keys(), float(info["fps"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: expected JSON with `codebase_version`, `fps` and `features` ({_line(error)})") from error
    if not version.startswith("v3."):
        raise ValueError(
            f"{path} is of version {version}, expected v3.0: lerobot's `convert_dataset_v21_to_v30` brings older ones up to date"
        )
    return {"data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"} | info


def _check_feature(root: Path, features: Mapping[str, Any], name: str) -> None:
    numbers = [known for known, feature in features.items() if len(feature.get("shape") or []) == 1 and "float" in feature.get("dtype", "")]
    if name not in numbers:
        given = f"it is {features[name].get('dtype')} of shape {features[name].get('shape')}" if name in features else "there is none"
        raise ValueError(
            f"{root / 'meta' / 'info.json'}: feature '{name}' is not a row of numbers ({given}); it has {', '.join(numbers) or 'none'}: "
            "name them in `observation` and `action`"
        )


def _sentences(root: Path, problems: list[str]) -> dict[int, str]:
    """The tasks in words, by index. Only episodes that do not say their own need them."""
    path = root / "meta" / "tasks.parquet"
    try:
        table = parquet.read_table(path)
        names = "task" if "task" in table.column_names else "__index_level_0__"  # the index of a pandas table without a name
        return dict(zip(table.column("task_index").to_pylist(), table.column(names).to_pylist()))
    except (OSError, pyarrow.ArrowException, KeyError) as error:
        problems.append(f"{path} cannot be read, tasks may have no sentence: {_line(error)}")
        return {}


def _listed(root: Path, problems: list[str]) -> list[dict[str, Any]]:
    """A row of metadata an episode."""
    needed = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    listed: list[dict[str, Any]] = []
    for path in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
        try:
            tasks = [name for name in parquet.read_schema(path).names if name == "tasks"]
            listed += _table(path, needed + tasks).to_pylist()
        except (OSError, pyarrow.ArrowException, KeyError) as error:
            problems.append(f"{path} cannot be read, its episodes are left out: {_line(error)}")
    if not listed:
        first = f"; the first problem: {problems[0]}" if problems else ""
        raise ValueError(
            f"{root / 'meta' / 'episodes'} lists no episode, expected chunk-000/file-000.parquet with {', '.join(needed)}{first}"
        )
    return sorted(listed, key=lambda row: row["episode_index"])


def _by_file(listed: Sequence[dict[str, Any]]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    files: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in listed:
        files.setdefault((row["data/chunk_index"], row["data/file_index"]), []).append(row)
    return files


def _width(info: Mapping[str, Any], name: str) -> int:
    return int(info["features"][name]["shape"][0])


def _table(path: Path, names: Iterable[str]) -> pyarrow.Table:
    """These columns of a parquet file. Errors: `OSError`, `pyarrow.ArrowException`; `KeyError` for the first that is not there."""
    if not path.is_file():
        raise FileNotFoundError("there is no such file")
    known = set(parquet.read_schema(path).names)
    for name in names:
        if name not in known:
            raise KeyError(f"there is no column '{name}'")
    return parquet.read_table(path, columns=list(names))


def _numbers(table: Any, name: str, width: int) -> Any:
    """A column as float32 `(rows, width)`. Errors: `ValueError`."""
    flat = table.column(name).combine_chunks()
    while isinstance(flat.type, pyarrow.ListType | pyarrow.FixedSizeListType | pyarrow.LargeListType):
        flat = flat.flatten()
    values = flat.to_numpy(zero_copy_only=False)
    if values.size != table.num_rows * width:
        raise ValueError(f"column '{name}' has {values.size} numbers in {table.num_rows} rows, info.json says {width} each")
    return values.astype("float32").reshape(table.num_rows, width)


def _wrong(seen: Any, done: Any, length: int) -> str:
    """What is wrong with an episode, in words; empty if nothing is."""
    if len(done) != length or not length:
        return f"it has {len(done)} rows, its metadata says {length}"
    bad = [f"{count} of its {name}" for name, x in (("observations", seen), ("actions", done)) if (count := _rows_not_finite(x))]
    return f"{' and '.join(bad)} are not finite" if bad else ""


def _rows_not_finite(x: Any) -> int:
    return int((~numpy.isfinite(x)).any(1).sum())


def _line(error: BaseException) -> str:
    """The first line of an error's message."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
