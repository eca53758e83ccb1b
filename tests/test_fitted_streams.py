"""A solver that is fitted to each of several streams, from the command that finds it to the one that samples by it."""

import shlex
from pathlib import Path

import pytest
import yaml

from anylatent import Run, load_recipe
from anylatent.cli import main

SMOKE = Path(__file__).parents[1] / "recipes" / "joint" / "smoke.yaml"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert not end.value.code, capsys.readouterr().err
    return capsys.readouterr().out


def test_what_solver_prints_sample_takes_stream_by_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A run of two streams, trained by one step: by itself it takes seconds, nearly all of them imports that other tests share.
    run = Run.create(load_recipe(yaml.safe_load(SMOKE.read_text()) | {"train": {"steps": 1, "batch": 4, "ema": [0.9]}}), tmp_path / "run")
    for _ in run.train():
        pass
    fit = ("--steps", "3", "--count", "4", "--reference", "6", "--seed", "5")
    said = told(capsys, "solver", str(run.folder), *fit)
    (options,) = (line.removeprefix("options: ") for line in said.splitlines() if line.startswith("options: "))
    out = tmp_path / "out"
    told(capsys, "sample", str(run.folder), "--count", "2", "--seed", "9", "--out", str(out), *shlex.split(options))

    found = run.fit_solver(3, 4, seed=5, reference_steps=6)
    assert set(found.solvers) == {"digit", "label"}
    assert found.solvers["digit"] != found.solvers["label"]
    streams = {name: {"solver": solver} for name, solver in found.solvers.items()}
    run.sample(2, seed=9, steps=3, schedule=found.schedule, streams=streams).save(run.recipe.modality, tmp_path / "mine")
    run.sample(2, seed=9, steps=3, schedule=found.schedule).save(run.recipe.modality, tmp_path / "plain")
    made, mine, plain = ((folder / "sheet.png").read_bytes() for folder in (out, tmp_path / "mine", tmp_path / "plain"))
    assert made == mine
    assert made != plain
