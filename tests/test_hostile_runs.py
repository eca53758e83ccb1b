"""Runs that meet trouble: each ends in a clear message and an exit code, and nothing that was made is lost."""

import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from full_disk import fill_disk
from PIL import Image
from small_runs import digits, executed, losses, outcome

from anylatent import Run, execute, load_recipe
from anylatent.cli import main
from anylatent.files import DamagedFile, read_tensors, seal, write_tensors
from anylatent.training.events import Step

RECIPE = digits(train={"steps": 12, "checkpoint": 4, "preview": 0})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without trouble."""
    return executed(RECIPE, tmp_path_factory.mktemp("whole") / "run").folder


@pytest.fixture(scope="module")
def _unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unfinished") / "run"
    generator = execute(Run.create(load_recipe(RECIPE), folder))
    for event in generator:
        if isinstance(event, Step) and (event.stage, event.done) == ("denoiser", 10):
            generator.close()  # pyright: ignore[reportAttributeAccessIssue]
    return folder


@pytest.fixture
def unfinished(_unfinished: Path, tmp_path: Path) -> Path:
    """A run that was stopped at step 10 of 12, with checkpoints at 4 and 8: a copy to spoil."""
    return Path(shutil.copytree(_unfinished, tmp_path / "run"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """The command in this process: its exit code and what it printed."""

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def finish(folder: Path) -> None:
    for _ in execute(Run.open(folder)):
        pass


def assert_same(folder: Path, expected: Path) -> None:
    assert losses(folder) == losses(expected)
    made, other = outcome(folder), outcome(expected)
    assert made.keys() == other.keys()
    assert [name for name, content in made.items() if content != other[name]] == []


# ---------------------------------------------------------------------------------------------------- damaged checkpoints


class Trap:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, ("ran",)


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 3],
    "bit flipped": _flipped,
    "pickle": lambda data: pickle.dumps(Trap()),
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("file", ["trained.safetensors", "ema-0.9.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(
    file: str, damage: Callable[[bytes], bytes], unfinished: Path, whole: Path, cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither training nor sampling touches it; following the advice, the run ends as if nothing had been."""
    monkeypatch.chdir(unfinished.parent)
    newest = unfinished / "checkpoints" / "00000008"
    (newest / file).write_bytes(damage((newest / file).read_bytes()))
    before = content(unfinished)
    for command in ("train", "sample"):
        code, said = cli(command, unfinished)
        assert code == 1
        assert f"error: cannot go on from {newest}: {newest / file} is damaged: its sha256 is not the one written beside it" in said
        assert "remove that folder to go on from 00000004" in said
        assert "Traceback" not in said
    assert content(unfinished) == before
    assert not (unfinished.parent / "ran").exists(), "no code of a pickle was run"
    if file in ("trained.safetensors", "state.json") and damage is _flipped:
        shutil.rmtree(newest)
        finish(unfinished)
        assert_same(unfinished, whole)


def test_a_checkpoint_that_lost_a_file_is_named(unfinished: Path, cli) -> None:
    newest = unfinished / "checkpoints" / "00000008"
    (newest / "optimizer.safetensors").unlink()
    code, said = cli("train", unfinished)
    assert code == 1
    assert f"{newest / 'optimizer.safetensors'} is missing; remove that folder to go on from 00000004" in said
    (newest / "sha256.json").unlink()
    code, said = cli("train", unfinished)
    assert code == 1
    assert f"{newest} is not whole: it has no sha256.json" in said


@pytest.mark.parametrize("file", ["trained", "ema-0.9", "optimizer"])
def test_weights_of_other_shapes_are_refused_by_name(file: str, unfinished: Path) -> None:
    """Whole, sealed, and of another recipe."""
    newest = unfinished / "checkpoints" / "00000008"
    tensors = read_tensors(newest / f"{file}.safetensors")
    name = "roles.student.backbone.readout.tokens.weight" + ("/exp_avg" if file == "optimizer" else "")
    assert name in tensors
    write_tensors(newest / f"{file}.safetensors", tensors | {name: torch.zeros(3, 3)})
    seal(newest)
    if file != "optimizer":
        message = rf"holds other weights: '{name.removeprefix('roles.student.')}' has \(3, 3\), expected \(4, 16\)"
        with pytest.raises(DamagedFile, match=message):
            Run.open(unfinished).sample(1, weights=file)
    with pytest.raises(DamagedFile, match=rf"'{name}' has \(3, 3\), expected \(4, 16\).*remove that folder to go on from 00000004"):
        list(Run.open(unfinished).train())


def test_the_only_checkpoint_may_be_damaged(unfinished: Path) -> None:
    shutil.rmtree(unfinished / "checkpoints" / "00000008")
    only = unfinished / "checkpoints" / "00000004"
    (only / "trained.safetensors").write_bytes(b"nothing")
    with pytest.raises(DamagedFile, match="remove that folder to start again"):
        list(Run.open(unfinished).train())


# ------------------------------------------------------------------------------------------------------ other files of a run


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("file", ["facts.json", "tokenizer.safetensors", "0000.png"])
def test_a_damaged_tokenizer_is_named(file: str, damage: Callable[[bytes], bytes], unfinished: Path, cli) -> None:
    path = unfinished / "tokenizer" / file
    path.write_bytes(damage(path.read_bytes()))
    before = content(unfinished)
    for command in ("train", "sample"):
        code, said = cli(command, unfinished)
        assert code == 1
        assert f"error: {path} is damaged: its sha256 is not the one written beside it" in said
        assert "Traceback" not in said
    assert content(unfinished) == before


def test_a_folder_without_a_recipe_is_no_run(unfinished: Path, cli) -> None:
    (unfinished / "recipe.yaml").unlink()
    for command in ("run", "train", "sample", "evaluate", "report"):
        code, said = cli(command, unfinished)
        assert code == 1
        assert f"error: {unfinished} is not a run: it has no recipe.yaml. `anylatent run RECIPE --out {unfinished}` makes one" in said


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, cli) -> None:
    for command in ("sample", "evaluate", "report"):
        code, said = cli(command, tmp_path / "nowhere")
        assert code == 1
        assert f"{tmp_path / 'nowhere'} is not a run" in said


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"modality: [", b"", b"modality: {kind: picture}\n"])
def test_a_damaged_recipe_is_named(text: bytes, unfinished: Path, cli) -> None:
    (unfinished / "recipe.yaml").write_bytes(text)
    code, said = cli("train", unfinished)
    assert code == 1
    assert str(unfinished / "recipe.yaml") in said
    assert "mistake" in said


def test_a_folder_of_another_recipe_is_left_alone(unfinished: Path, cli, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(RECIPE))
    before = content(unfinished)
    code, said = cli("run", tmp_path / "other.yaml", "seed=5", "--out", unfinished)
    assert code == 1
    assert f"error: {unfinished} holds a run of another recipe: choose another folder with --out, or remove it" in said
    assert content(unfinished) == before


def test_a_changed_recipe_does_not_take_up_the_old_tokenizer(unfinished: Path, cli) -> None:
    """Its file edited by hand, so that the old weights mean something else."""
    text = (unfinished / "recipe.yaml").read_text()
    assert "patch: [2, 2]" in text
    (unfinished / "recipe.yaml").write_text(text.replace("patch: [2, 2]", "patch: [4, 4]"))
    code, said = cli("sample", unfinished)
    assert code == 1
    assert "holds other weights: 'statistics.mean' has (4,), expected (16,)" in said


def test_a_file_in_the_runs_place_is_named(tmp_path: Path, cli) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    (tmp_path / "taken").write_text("mine")
    code, said = cli("run", tmp_path / "recipe.yaml", "--out", tmp_path / "taken")
    assert code == 1
    assert f"{tmp_path / 'taken'}" in said
    assert "Traceback" not in said
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_damaged_log_costs_only_its_lines(unfinished: Path, whole: Path) -> None:
    log = unfinished / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], b"\xff\xfe garbage\n", b"5\n", b'{"other": 1}\n', *lines[3:], b'{"stage": "den']))
    finish(unfinished)
    assert losses(unfinished) == [line for line in losses(whole) if line[1] != 3]
    assert outcome(unfinished) == outcome(whole)


# ------------------------------------------------------------------------------------------------------------- full disk


@pytest.mark.parametrize("room", [0, 200, 3_000, 30_000])
def test_a_full_disk_stops_a_training_that_goes_on_when_there_is_room(room: int, unfinished: Path, whole: Path, cli) -> None:
    """Whatever it was writing: a line of the log, a file of a checkpoint, the seal of it."""
    before = content(unfinished / "checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        fill_disk(patch, room)
        code, said = cli("run", unfinished)
    assert code == 1
    assert "error: cannot write " in said
    assert "No space left on device" in said
    assert content(unfinished / "checkpoints") == before, "nothing half written, nothing lost"
    finish(unfinished)
    assert_same(unfinished, whole)


def test_a_full_disk_at_the_end_costs_neither_weights_nor_old_samples(whole: Path, tmp_path: Path, cli) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    before = content(folder)
    with pytest.MonkeyPatch.context() as patch:
        fill_disk(patch, 1_000)
        code, said = cli("run", folder, "--again")
    assert code == 1
    assert "No space left on device" in said
    after = content(folder)
    assert {name: data for name, data in after.items() if name != "timings.json"} == {
        n: d for n, d in before.items() if n != "timings.json"
    }
    finish(folder)
    assert_same(folder, whole)


def test_a_limit_of_the_system_is_met_in_the_same_way(unfinished: Path, whole: Path, tmp_path: Path) -> None:
    """A real one, in a process of its own: no file may be larger than 40 kB."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    program = str(Path(sys.executable).with_name("anylatent"))
    done = subprocess.run(
        [program, "run", recipe, "--out", tmp_path / "limited"], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "error: cannot write " in done.stderr
    assert "trained.safetensors: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    finish(tmp_path / "limited")
    assert_same(tmp_path / "limited", whole)


# ------------------------------------------------------------------------------------------------------------------- NaN


def test_a_training_that_diverges_stops_and_keeps_its_last_checkpoint(tmp_path: Path, cli) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    folder = tmp_path / "run"
    code, said = cli("run", tmp_path / "recipe.yaml", "train.learning_rate=1e25", "train.warmup=6", "train.checkpoint=1", "--out", folder)
    assert code == 1
    assert "of denoiser is not finite at step" in said
    assert "Lower train.learning_rate or train.clip, then train again" in said
    kept = sorted((folder / "checkpoints").iterdir())
    assert kept
    assert f"the last checkpoint ({kept[-1]}) is kept" in said
    assert all(tensor.isfinite().all() for tensor in read_tensors(kept[-1] / "trained.safetensors").values())
    assert len(losses(folder)) == int(kept[-1].name)


def test_a_loss_that_is_not_a_number_can_be_gone_on_from(unfinished: Path, whole: Path, cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from anylatent.objective import Objective

    plain = Objective.loss

    def spoiled(self: Objective, denoiser: Any, clean: Any, condition: Any, step: int) -> torch.Tensor:
        return plain(self, denoiser, clean, condition, step) * (torch.nan if step == 9 else 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "loss", spoiled)
        code, said = cli("train", unfinished)
    assert code == 1
    assert "error: the loss of denoiser is not finite at step 10: training stopped" in said
    finish(unfinished)
    assert_same(unfinished, whole)


# ------------------------------------------------------------------------------------------------------------- user's data


def pictures(folder: Path, good: int = 12) -> Path:
    folder.mkdir()
    for index in range(good):
        Image.new("L", (8, 8), 20 * index).save(folder / f"{index:02d}.png")
    whole_file = (folder / "00.png").read_bytes() if good else b"\x89PNG\r\n\x1a\n"
    (folder / "cut.png").write_bytes(whole_file[:45])
    (folder / "nonsense.jpg").write_bytes(b"GIF89a, or is it?")
    (folder / "empty.webp").write_bytes(b"")
    return folder


def folder_recipe(folder: Path, **data: Any) -> dict[str, Any]:
    modality = {"kind": "image", "data": {"kind": "image.folder", "path": str(folder), "size": 8, "channels": 1, "test_share": 0.2} | data}
    return digits(modality=modality, conditions={}, sample={"guidance": {"kind": "none"}}, train={"steps": 4, "batch": 4, "preview": 0})


def test_unreadable_pictures_are_counted_and_told(tmp_path: Path, cli) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(folder_recipe(pictures(tmp_path / "pictures"))))
    code, said = cli("run", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    assert code == 0, said
    assert "records could not be read and are left out; the first: " in said
    report = (tmp_path / "run" / "report.html").read_text()
    assert "records could not be read and were left out" in report


def test_an_unreadable_picture_stops_a_strict_recipe(tmp_path: Path, cli) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(folder_recipe(pictures(tmp_path / "pictures"), strict=True)))
    code, said = cli("run", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    assert code == 1
    assert "pictures/" in said
    assert "image" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "recipe.yaml").exists(), "no run was begun"


@pytest.mark.parametrize("what", ["nothing", "only damaged"])
def test_a_folder_without_pictures_is_no_data(what: str, tmp_path: Path, cli) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir() if what == "nothing" else pictures(folder, good=0)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(folder_recipe(folder)))
    code, said = cli("run", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    assert code == 1
    assert "this recipe cannot run" in said
    assert str(folder) in said


def test_data_that_were_never_fetched_are_named_with_the_command(tmp_path: Path, cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path / "cache"))
    modality = {"kind": "image", "data": {"kind": "image.emoji"}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(digits(modality=modality, conditions={}, sample={"guidance": {"kind": "none"}})))
    code, said = cli("run", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    assert code == 1
    assert "run `anylatent data fetch image.emoji`" in said
