"""What a training needs to go on exactly where it was, written whole, checked when read."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from anylatent.files import DamagedFile, check_seal, read_json, read_tensors, seal, whole_folder, write_json, write_tensors
from anylatent.training.averages import Averages
from anylatent.types import Tensor

KEPT = 2
"""Older checkpoints are removed: the last, and one in case the last is damaged."""


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted((path for path in folder.glob("*") if path.name.isdigit()), key=lambda path: int(path.name))


def newest(folder: Path) -> Path | None:
    """The last checkpoint, whole; None if there is none. Errors: `DamagedFile` says what is wrong with it and what to do."""
    found = checkpoints(folder)
    if not found:
        return None
    with _advising(folder):
        check_seal(found[-1])
    return found[-1]


def save(folder: Path, step: int, module: nn.Module, averages: Averages, optimizer: torch.optim.Optimizer) -> Path:
    """Write `folder/<step>/`. Errors: `OSError` (a full disk); what was there before is untouched."""
    path = folder / f"{step:08d}"
    for unfinished in folder.glob(".*.part"):  # of a process that was killed while it wrote
        shutil.rmtree(unfinished)
    with whole_folder(path) as part:
        write_tensors(part / "trained.safetensors", module.state_dict())
        for name in averages.weights:
            write_tensors(part / f"{name}.safetensors", averages.tensors(name))
        write_tensors(part / "optimizer.safetensors", _moments(module, optimizer))
        write_json(part / "state.json", {"step": step})
        seal(part)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)
    return path


def restore(folder: Path, module: nn.Module, averages: Averages, optimizer: torch.optim.Optimizer) -> int:
    """Load the newest checkpoint; the steps it had made (0 if there is none).

    Errors: `DamagedFile` if it is truncated, changed, or of other shapes; it says what to do.
    """
    path = newest(folder)
    if path is None:
        return 0
    with _advising(folder):
        load_weights(module, read_tensors(path / "trained.safetensors"), path)
        for name in averages.weights:
            tensors = read_tensors(path / f"{name}.safetensors")
            _require_same(averages.tensors(name), tensors, path)
            averages.load(name, tensors)
        _load_moments(module, optimizer, read_tensors(path / "optimizer.safetensors"), path)
        return int(read_json(path / "state.json")["step"])


@contextmanager
def _advising(folder: Path) -> Iterator[None]:
    """Says what to do about a newest checkpoint that cannot be used."""
    try:
        yield
    except (DamagedFile, FileNotFoundError) as error:
        *older, last = checkpoints(folder)
        advice = f"remove that folder to go on from {older[-1].name}" if older else "remove that folder to start again"
        raise DamagedFile(f"cannot go on from {last}: {error}; {advice}") from error


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Load a state dict. Errors: `DamagedFile` names what is missing, unknown, or of another shape."""
    _require_same(module.state_dict(), tensors, where)
    module.load_state_dict(dict(tensors))


def _require_same(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: Path) -> None:
    """Errors: `DamagedFile` unless names and shapes are the same."""
    wrong = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
    wrong += [name for name in tensors if name not in own]
    if wrong:
        name = wrong[0]
        given = tuple(tensors[name].shape) if name in tensors else "nothing"
        expected = tuple(own[name].shape) if name in own else "nothing"
        raise DamagedFile(
            f"{where} holds other weights: '{name}' has {given}, expected {expected} ({len(wrong)} differ); it is of another recipe"
        )


def _moments(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names = {id(p): name for name, p in module.named_parameters()}
    return {
        f"{names[id(p)]}/{key}": torch.as_tensor(value, dtype=torch.float32)
        for group in optimizer.param_groups
        for p in group["params"]
        for key, value in optimizer.state.get(p, {}).items()
    }


def _load_moments(module: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], where: Path) -> None:
    parameters = dict(module.named_parameters())
    keys = [key.rsplit("/", 1) for key in tensors]
    scalars = {f"{name}/step": torch.zeros(()) for name, key in keys if key == "step"}
    _require_same(
        {f"{name}/{key}": parameters[name] for name, key in keys if key != "step" and name in parameters} | scalars, tensors, where
    )
    for name, key in keys:
        p = parameters[name]
        optimizer.state[p][key] = tensors[f"{name}/{key}"].to(p.device)  # fused AdamW wants its step there too
