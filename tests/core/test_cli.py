"""The command line, as a person meets it: what it prints, what it refuses, and its exit codes.

The commands run in one process of their own, one after the other, without pytest's import hooks.
"""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from anylatent import doctor
from anylatent.cli import hoisted
from anylatent.cli.progress import Lines, Tally, bars
from anylatent.cli.runs import _new_folder, _show_samples
from anylatent.cli.text import duration, found_schedule, found_solver, measured, rate, table
from anylatent.files import whole_folder
from anylatent.metrics.base import Measure
from anylatent.paths.rectified import Rectified
from anylatent.recipe import read
from anylatent.schedule_search import FoundSchedule
from anylatent.schedules import Schedule, Table
from anylatent.solver_fit import FoundSolver
from anylatent.solvers.base import Solver
from anylatent.solvers.fitted import Fitted
from anylatent.training.events import Note, Saved, Stage, Step

TOY = Path(__file__).parent / "toy_plugin.py"
RECIPE = """\
modality: {kind: toy, data: {kind: toy.waves}}
tokenizer: {kind: grid, patch: [2]}
denoiser: {kind: dit, depth: 1, width: 16, heads: 1}
conditions: {label: {kind: class}, }
train: {steps: 6, batch: 4, checkpoint: 3, preview: 0, ema: [0.5]}
sample: {count: 12, steps: 2, solver: {kind: heun}, guidance: {kind: classifier-free, scale: 2}}
evaluate: [{kind: distinct}]
"""
BOOM = """\
from anylatent.data import DatasetConfig

class Boom(DatasetConfig, kind="boom.data"):
    "Fails."

    def build(self, split):
        raise RuntimeError("the disk caught fire")
"""
DRIVER = """\
import contextlib, io, json, sys
from anylatent.cli import main
results = {}
for name, arguments in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        except Exception as error:
            code = repr(error)
    results[name] = {"code": code, "out": out.getvalue(), "err": err.getvalue(), "torch": "torch" in sys.modules}
json.dump(results, sys.stdout)
"""


@dataclass
class Result:
    code: int | str
    out: str
    err: str
    torch: bool


def commands(folder: Path, named: dict[str, list[str]]) -> dict[str, Result]:
    environment = os.environ | {"ANYLATENT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(named)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return {name: Result(**result) for name, result in json.loads(done.stdout).items()}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "waves.yaml").write_text(RECIPE)
    (folder / "slip.yaml").write_text(RECIPE.replace("steps: 6", "stesp: 6"))
    (folder / "broken.yaml").write_text("train: [1\n")
    (folder / "boom.py").write_text(BOOM)
    (folder / "boom.yaml").write_text(RECIPE.replace("toy.waves", "boom.data"))
    (folder / "given.json").write_text(json.dumps([0.1 * i for i in range(8)]))
    (folder / "other.json").write_text(json.dumps([0.5 * (-1) ** i for i in range(8)]))
    for name in "def":
        (folder / f"{name}.json").write_text(json.dumps([0.1 * (ord(name) * i % 7) for i in range(8)]))
    (folder / "bad.json").write_text("{")
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("keep me")
    return folder


@pytest.fixture(scope="module")
def light(workplace) -> dict[str, Result]:
    """Commands that must answer without torch."""
    return commands(
        workplace,
        {
            "help": ["--help"],
            "command help": ["sample", "--help"],
            "version": ["--version"],
            "unknown command": ["rnu"],
            "unknown option": ["run", "waves.yaml", "--fast"],
            "plugins": ["plugins"],
            "no plugin": ["plugins", "info", "toy"],
            "no file": ["plugins", "--plugin", "missing.py"],
            "not yaml": ["recipe", "check", "broken.yaml"],
            "toy unknown": ["run", "waves.yaml"],
            "data unknown": ["data", "fetch", "no.data"],
            "file plugin": ["plugins", "--plugin", str(TOY)],
            "info": ["plugins", "info", "toy"],
            "slip": ["run", "slip.yaml", "sample.cuont=3"],
            "missing recipe": ["recipe", "check", "wave.yaml"],
            "show": ["recipe", "show", "waves.yaml", "train.steps=99"],
            "schema": ["recipe", "schema"],
            "schema file": ["recipe", "schema", "--out", "made/schema.json"],
            "schema nowhere": ["recipe", "schema", "--out", "/proc/schema.json"],
            "data list": ["data", "list"],
            "nothing to fetch": ["data", "fetch", "toy.waves"],
            "methods": ["methods"],
            "methods of a file": ["methods", "dataset"],
            "methods of a plugin": ["methods", "toy"],
            "method of a plugin": ["methods", "toy.waves"],
            "no method": ["methods", "huen"],
            "editor": ["edit", "runs/waves", "--from-data", "1", "--set", "tokns=1"],
        },
    )


@pytest.fixture(scope="module")
def heavy(workplace, light) -> dict[str, Result]:
    toy, run = ["--plugin", str(TOY)], "runs/waves"
    boom = [*toy, "--plugin", "boom.py"]
    return commands(
        workplace,
        {
            "check": ["recipe", "check", "waves.yaml", *toy],
            "problem": ["recipe", "check", "waves.yaml", "objective.streams={no: {weight: 2}}"],
            "failure": ["recipe", "check", "boom.yaml", *boom],
            "failure shown": ["recipe", "check", "boom.yaml", *boom, "--debug"],
            "train": ["train", "waves.yaml", "train.steps=3", "--out", run],
            "other recipe": ["run", "waves.yaml", "--out", run],
            "run": ["run", "waves.yaml", "train.steps=3", "--out", run],
            "go on": ["run", run],
            "again": ["run", run, "--again"],
            "overrides of a run": ["run", run, "train.steps=9"],
            "no run": ["sample", "nowhere"],
            "sample": ["sample", run, "--count", "3", "--condition", "label=1", "--solver", "euler", "--guidance", "1.5", "--seed", "5"],
            "sample again": ["sample", run, "--count", "3", "--weights", "trained", "--guidance", "{kind: none}", "--out", "mine"],
            "onto files": ["sample", run, "--out", "full"],
            "large": ["sample", run, "--count", "1", "--size", "12", "--out", "large"],
            "too large": ["sample", run, "--size", "8x8"],
            "no size": ["sample", run, "--size", "big"],
            "unknown condition": ["sample", run, "--condition", "lable=1"],
            "no value": ["sample", run, "--condition", "label"],
            "twice": ["sample", run, "--condition", "label=1", "--condition", "label=2"],
            "unknown solver": ["sample", run, "--solver", "huen"],
            "bad scale": ["sample", run, "--guidance", "-1"],
            "edit": ["edit", run, "--given", "given.json", "--count", "2", "--set", "anew={x: [0.5, 1]}"],
            "edit data": ["edit", run, "--from-data", "2", "--editor", "{kind: masked-completion, anew: {x: [0, 0.5]}}"],
            "edit nothing": ["edit", run],
            "edit too much": ["edit", run, "--from-data", "1000"],
            "edit missing": ["edit", run, "--given", "missing.json"],
            "edit unreadable": ["edit", run, "--given", "bad.json"],
            "schedule": ["schedule", run, "--steps", "3", "--count", "2", "--rounds", "1", "--reference", "6", "--condition", "label=1"],
            "no schedule": ["schedule", run, "--solver", "ancestral"],
            "solver": ["solver", run, "--steps", "3", "--count", "2", "--reference", "6"],
            "no solver": ["solver", run, "--steps", "1"],
            "stream": [
                "sample",
                run,
                "--count",
                "3",
                "--guidance",
                "{kind: none}",
                "--stream",
                "tokens={solver: {kind: euler}}",
                "--out",
                "a",
            ],
            "edit stream": [
                "edit",
                run,
                "--from-data",
                "2",
                "--set",
                "anew={x: [0, 0.5]}",
                "--stream",
                "tokens={solver: {kind: euler}}",
                "--out",
                "b",
            ],
            "unknown stream": ["sample", run, "--stream", "sound={schedule: {kind: edm}}"],
            "no stream": ["sample", run, "--stream", "tokens=heun"],
            "stream twice": ["sample", run, "--stream", "tokens={}", "--stream", "tokens={}"],
            "stream's solver": ["sample", run, "--stream", "tokens={solver: {kind: huen}}"],
            "direction": ["direction", run, "--out", "to 1.safetensors", "--condition", "label=1", "--against", "label=0", "--count", "2"],
            "directions": ["direction", run, "--out", "svd.safetensors", "--svd", "2", "--from-data", "6", "--count", "3", "--alike"],
            "along": [
                "sample",
                run,
                "--count",
                "2",
                "--hook",
                "{kind: direction, file: svd.safetensors, number: 1, strength: 2}",
                "--out",
                "c",
            ],
            "directions of given ones": [
                *["direction", run, "--out", "given.safetensors", "--condition", "label=1"],
                *["--given", "given.json", "--given", "other.json", "--given", "d.json", "--given", "e.json"],
                *["--given", "f.json"],
            ],
            "direction of two": [
                *["direction", run, "--out", "x.safetensors", "--svd", "1", "--given", "given.json", "--given", "other.json"],
            ],
            "direction of one twice": [
                *["direction", run, "--out", "x.safetensors", "--svd", "1"],
                *["--given", "given.json", "--given", "other.json", "--given", "./given.json"],
            ],
            "too many directions": ["direction", run, "--out", "x.safetensors", "--svd", "3", "--count", "3"],
            "no direction": ["direction", run, "--out", "x.safetensors"],
            "direction again": ["direction", run, "--out", "svd.safetensors", "--svd", "2"],
            "both directions": ["direction", run, "--out", "x.safetensors", "--svd", "2", "--against", "label=1"],
            "two times": ["direction", run, "--out", "x.safetensors", "--svd", "2", "--time", "0.2", "--time", "0.4"],
            "time": ["direction", run, "--out", "x.safetensors", "--svd", "2", "--time", "2"],
            "no block": ["direction", run, "--out", "x.safetensors", "--svd", "2", "--block", "1"],
            "against what": ["direction", run, "--out", "x.safetensors", "--condition", "label=1", "--against", "lable=0"],
            "smoothness": ["evaluate", run, "--metric", "{kind: istd, pairs: 2, steps: 2}"],
            "judge": ["judge", run, "given.json", "other.json", "--steps", "2", "--draws", "2"],
            "judge the other": ["judge", run, "other.json", "--steps", "2", "--draws", "2"],
            "judge as told": ["judge", run, "given.json", "other.json", "--steps", "2", "--condition", "label=1"],
            "judge nothing": ["judge", run, "given.json", "missing.json"],
            "evaluate": ["evaluate", run],
            "report": ["report", run],
            "no metric": ["train", "waves.yaml", *toy, "train.steps=1", "evaluate=[]", "--out", "runs/unjudged"],
            "judge without": ["evaluate", "runs/unjudged"],
            "doctor": ["doctor"],
        },
    )


# --- what answers at once -------------------------------------------------------------------------------------------


def test_what_needs_no_number_imports_no_torch(light, heavy):
    assert [name for name, result in light.items() if result.torch] == []
    assert heavy["check"].torch, "what does need numbers is noticed"


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("help", 0, "run        Everything a recipe says: train, sample, evaluate, report."),
        ("command help", 0, "--condition NAME=VALUE"),
        ("version", 0, "anylatent 0."),
        ("unknown command", 2, "No such command 'rnu'. Did you mean 'run'?"),
        ("unknown option", 2, "No such option"),
        ("no plugin", 1, "error: no installed plugin provides 'toy': try `pip install anylatent-toy`, or --plugin FILE"),
        ("no file", 1, "error: --plugin expects a Python file (.py), given '"),
        ("not yaml", 1, "error: 1 mistake:\n  broken.yaml:2:1: is not YAML: "),
        ("toy unknown", 1, "waves.yaml:1:18: modality.kind: no installed plugin provides 'toy'"),
        ("data unknown", 1, "error: there is no data set 'no.data'; known: "),
        ("file plugin", 0, "toy"),
        ("info", 0, "dataset   toy.waves  Sine waves of three frequencies."),
        ("slip", 1, "slip.yaml:5:9: train.stesp: unknown key 'stesp'; did you mean 'steps'?\n  override 'sample.cuont=3': "),
        ("missing recipe", 1, "error: there is no recipe 'wave.yaml'; did you mean 'waves.yaml'?"),
        ("show", 0, "  steps: 99\n"),
        ("schema file", 0, "made/schema.json"),
        ("schema nowhere", 1, "error: cannot write /proc/schema.json: No such file or directory"),
        ("data list", 0, "toy.waves"),
        ("nothing to fetch", 0, "toy.waves: nothing to fetch"),
        ("methods", 0, "\nother families: conditioner, dataset, "),
        ("methods of a file", 0, "Sine waves of three frequencies"),
        ("methods of a plugin", 0, "modality  toy        Waves"),
        ("method of a plugin", 0, "dataset toy.waves\n\nSine waves of three frequencies."),
        ("no method", 1, "error: there is no method, family or plugin 'huen'; did you mean 'heun'? `anylatent methods` lists them all"),
        ("editor", 1, "override 'tokns=1': tokns: unknown key 'tokns'; did you mean 'tokens'?"),
    ],
)
def test_light_commands_say_what_a_person_needs(light, name, code, said):
    result = light[name]
    assert result.code == code
    assert said in (result.err if code else result.out)
    assert "Traceback" not in result.err


def test_the_schema_is_printed_and_written_alike(light, workplace):
    assert json.loads(light["schema"].out) == json.loads((workplace / "made" / "schema.json").read_text())
    assert "toy.waves" in light["schema"].out


def test_no_help_line_is_cut_off(light):
    assert "..." not in light["help"].out.replace("COMMAND [ARGS]...", "")
    assert max(map(len, light["help"].out.splitlines())) <= 80


def test_a_broken_plugin_is_told_and_the_others_go_on(tmp_path, monkeypatch):
    info = tmp_path / "test_bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: test-bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[anylatent]\nbad = plugin_bad\n")
    (tmp_path / "plugin_bad.py").write_text("anylatent_api = 1\nimport no_such_thing\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    toy = ["--plugin", str(TOY)]
    told = commands(
        tmp_path,
        {
            "list": ["plugins"],
            "info": ["plugins", "info", "bad"],
            "schema": ["recipe", "schema", *toy],
            "data": ["data", "list", *toy],
            "doctor": ["doctor"],
        },
    )
    cause = "plugin 'bad' (test-bad 1.0) is broken: ModuleNotFoundError: No module named 'no_such_thing' (plugin_bad.py, line 2)"
    assert re.search(r"^bad +test-bad +1.0 +ready$", told["list"].out, re.MULTILINE), "listing imports nothing"
    assert (told["info"].code, told["info"].err) == (1, f"error: {cause}\n")
    assert (told["schema"].code, told["schema"].err) == (0, f"left out: {cause}\n")
    assert "toy.waves" in told["schema"].out
    assert (told["data"].code, told["data"].err) == (0, f"left out: {cause}\n")
    assert "toy.waves" in told["data"].out
    assert told["doctor"].code == 1
    assert f"problem: {cause}\n" in told["doctor"].out


def test_the_doctor_sees_a_cache_that_cannot_be_written(monkeypatch):
    monkeypatch.setenv("ANYLATENT_CACHE", "/nowhere/at/all")
    monkeypatch.setattr("os.access", lambda *_: False)
    facts, problems = doctor._cache()
    assert facts == [("cache", "/nowhere/at/all, 0 B")]
    assert problems == ["the cache folder /nowhere/at/all cannot be written: set ANYLATENT_CACHE to one that can"]


def test_a_terminal_that_cannot_show_a_sign_is_no_reason_to_fail(workplace):
    command = [sys.executable, "-c", "from anylatent.cli import main; main()", "plugins", "info", "toy", "--plugin", str(TOY)]
    done = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Waves of 8 numbers, ?1 ? 1." in done.stdout


# --- what takes torch -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("check", 0, "tokens a sample  4\n"),
        ("problem", 1, "problem: there is no stream 'no' for the objective"),
        ("failure", 1, "error: the disk caught fire\n(--debug shows where)\n"),
        ("failure shown", "RuntimeError('the disk caught fire')", ""),
        ("train", 0, "trained: runs/waves"),
        ("other recipe", 1, "error: runs/waves holds a run of another recipe: choose another folder with --out, or remove it"),
        ("run", 0, "going on with: runs/waves\n"),
        ("go on", 0, "finished already; for more samples: anylatent sample runs/waves; to sample and judge once more: --again\n"),
        ("again", 0, "report: runs/waves/report.html\n"),
        (
            "overrides of a run",
            1,
            "error: runs/waves is a run, whose recipe is fixed; overrides and --out go with a recipe: runs/waves/recipe.yaml",
        ),
        ("no run", 1, "error: nowhere is not a run: it has no recipe.yaml."),
        ("sample", 0, "runs/waves/sampled/001\n"),
        ("sample again", 0, ": mine\n"),
        ("onto files", 1, "error: --out full exists and is not an empty folder: choose another"),
        ("large", 0, "1 samples in "),
        ("too large", 1, "error: size 8x8: expected at most 1, of axis 'x'"),
        ("no size", 1, "error: --size expects whole numbers, one an axis, as in 24x64 (or _x64 for the second alone), given 'big'"),
        ("unknown condition", 1, "error: --condition lable=1: this run has no condition 'lable'; did you mean 'label'? (known: label)"),
        ("no value", 1, "error: --condition expects NAME=VALUE, given 'label'"),
        ("twice", 1, "error: --condition label is given twice: samples of one request are asked one thing"),
        ("unknown solver", 1, "--solver: kind: there is no solver 'huen'; did you mean 'heun'?"),
        ("bad scale", 1, "scale: expected a number greater than or equal to 0; given -1"),
        ("edit", 0, "runs/waves/edited/001\n"),
        ("edit data", 0, "runs/waves/edited/002\n"),
        ("edit nothing", 1, "error: say what to edit: --given FILE (one or more), or --from-data N"),
        ("edit too much", 1, "error: --from-data 1000: the data set has 60 held-out samples"),
        ("edit missing", 1, "error: --given: there is no file missing.json"),
        ("edit unreadable", 1, "error: bad.json is not a JSON list of 8 numbers"),
        ("schedule", 0, "schedule: {kind: table, unit: time, knots: [1, "),
        ("solver", 0, "solver: {kind: fitted, times: [1, "),
        ("no solver", 1, "error: 1 step has nothing to be fitted to but what it predicts: fit 2 steps or more"),
        ("no schedule", 1, "error: solver 'ancestral' adds new noise: its samples of more steps are others, not nearer ones; search with "),
        ("stream", 0, "engine: network_calls 6, "),
        ("edit stream", 0, "network_calls 8, "),
        ("unknown stream", 1, "error: there is no stream 'sound': the tokenizer makes ['tokens']"),
        ("no stream", 1, "error: --stream expects NAME={solver: …, schedule: …}, one of them or both, given 'tokens=heun'"),
        ("stream twice", 1, "error: --stream tokens is given twice: say its solver and its schedule in one"),
        ("stream's solver", 1, "--stream tokens:1:17: solver.kind: there is no solver 'huen'; did you mean 'heun'?"),
        (
            "direction",
            0,
            'hook: {kind: direction, file: "to 1.safetensors", block: 0}\nfound       1, of each of 4 tokens, after block 0, at ',
        ),
        ("directions", 0, "found             2, for all tokens alike, after block 0, at time 0.7\nvariance along 0  "),
        ("along", 0, "direction: moved "),
        ("directions of given ones", 0, "), on 2 other samples\n"),
        (
            "direction of two",
            1,
            "error: --given: a direction is found in one half of the samples and judged on the other: give 4 or more, given 2",
        ),
        ("direction of one twice", 1, "error: --given given.json is given twice: what a direction is found in cannot judge it"),
        ("too many directions", 1, "error: --svd 3: 3 samples differ in at most 2 directions; ask for fewer, or take more samples"),
        ("no direction", 1, "error: say what to find: --condition NAME=VALUE (and --against NAME=VALUE), or --svd N"),
        ("direction again", 1, "error: --out svd.safetensors exists: choose another"),
        ("both directions", 1, "error: --against belongs to a contrast: leave it out, or leave out --svd"),
        ("two times", 1, "error: --svd looks at one time, given 2: leave out all but one --time"),
        ("time", 1, "error: --time 2: expected a time between 0 (data) and 1 (prior)"),
        ("no block", 1, "error: --block names block 1: the denoiser has block 0 alone"),
        ("against what", 1, "error: --against lable=0: this run has no condition 'lable'; did you mean 'label'? (known: label)"),
        ("smoothness", 0, "unevenness ↓"),
        ("judge", 0, "file        bits a number  label  probability\ngiven.json  "),
        ("judge as told", 0, "file        bits a number\ngiven.json  "),
        ("judge nothing", 1, "error: there is no file missing.json\n"),
        ("evaluate", 0, "unique ↑"),
        ("report", 0, "runs/waves/report.html\n"),
        ("judge without", 1, "error: the recipe of runs/unjudged names no metric: add some under `evaluate`"),
        ("doctor", 0, "cache"),
    ],
)
def test_commands_of_a_run(heavy, name, code, said):
    result = heavy[name]
    assert result.code == code, result.err
    assert said in (result.out if code == 0 or name == "problem" else result.err)
    assert "Traceback" not in result.err


def test_a_found_schedule_can_be_pasted_and_says_what_it_is_worth(heavy):
    node, steps, error, how, calls = heavy["schedule"].out.splitlines()
    found = read(Schedule, node.removeprefix("schedule: "))
    assert isinstance(found, Table)
    assert len(found.knots) == 3
    assert steps == "steps          3"
    assert re.fullmatch(r"error          [0-9.e-]+ before, [0-9.e-]+ after: .*, on 2 other seeds", error)
    assert how.strip() == "(mean distance from the tokens of 6 steps, in standard deviations)"
    # Heun, guided: (2 steps - 1) calls a row and branch. 4 rows of 6 steps; 5 tries and 2 checks of 2 rows in 3.
    assert calls.startswith(f"network calls  {2 * (4 * 11 + 7 * 2 * 5)} in ")
    stages = [line.split("  ")[0] for line in heavy["schedule"].err.splitlines() if "  " in line]
    assert list(dict.fromkeys(stages)) == ["reference", "search", "check"]


def test_a_found_solver_can_be_pasted(heavy):
    steps, schedule, solver, *worth = heavy["solver"].out.splitlines()
    node, times = read(Solver, solver.removeprefix("solver: ")), read(Schedule, schedule.removeprefix("schedule: "))
    assert steps == "steps: 3"
    assert node.refuses_times(times.times(3, Rectified())) is None
    assert [len(row) for row in node.rows] == [2, 3, 4]
    assert re.fullmatch(r"error          [0-9.e-]+ of dpm\+\+2m, [0-9.e-]+ after: .*, on 2 other seeds", worth[1])


def test_solvers_of_several_streams_can_be_pasted_as_options():
    solver = Fitted(times=(1, 0), rows=((0.1, 0.9),))  # of one step: enough to be printed
    table = Table(knots=(1, 0.5), unit="time")
    found = FoundSolver(table, 1, 50, 0.4, 0.3, 0.25, 0.1, 0.3, 64, 12_345, 70.0, {"digit": solver, "label": solver})
    lines = found_solver(found).splitlines()
    node = "{solver: {kind: fitted, times: [1, 0], rows: [[0.1, 0.9]]}}"
    assert lines[2:5] == ["streams:", f"  digit: {node}", f"  label: {node}"]
    asked = shlex.split(lines[5].removeprefix("options: "))
    schedule = lines[1].removeprefix("schedule: ")
    assert asked == ["--steps", "1", "--schedule", schedule, "--stream", f"digit={node}", "--stream", f"label={node}"]


def test_files_are_judged_a_line_each(heavy):
    header, given, other = heavy["judge"].out.splitlines()
    for line in (given, other):
        assert re.fullmatch(r"(given|other)\.json +-?[0-9]+\.[0-9]{3} +[0-3] +[01]\.[0-9]{3}", line)
    assert given.split()[1] != other.split()[1]
    assert heavy["judge the other"].out.splitlines()[1].split() == other.split(), "alone as after another file"
    assert header.split() == ["file", "bits", "a", "number", "label", "probability"]


def test_a_found_direction_says_how_to_try_it(heavy):
    *_, worth, how = heavy["direction"].out.splitlines()
    assert re.fullmatch(r"told apart  [0-9.]+ % \([0-9.]+ to [0-9.]+\), on 2 other samples", worth)
    assert shlex.split(how)[1:] == [
        "anylatent", "sample", "runs/waves", "--condition", "label=0", "--hook", '{kind: direction, file: "to 1.safetensors", block: 0}',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("low", "said"),
    [
        (0.1, "0.4 before, 0.3 after: 25 % less (10 to 30), on 64 other seeds"),
        (-0.1, "after: not surely less: keep what the recipe says, on"),
    ],
)
def test_a_found_schedule_is_praised_only_where_it_is_surely_nearer(low, said):
    found = FoundSchedule(Table(knots=(1, 0.5), unit="time"), 2, 50, 0.4, 0.3, 0.25, low, 0.3, 64, 12_345, 70.0)
    text = found_schedule(found)
    assert text.startswith("schedule: {kind: table, unit: time, knots: [1, 0.5]}\n")
    assert said in text
    assert text.endswith("network calls  12,345 in 1 min 10 s")


def test_samples_are_files_and_nothing_of_the_user_is_touched(heavy, workplace):
    made = json.loads((workplace / "runs/waves/sampled/001/samples.json").read_text())
    assert [sample["seed"] for sample in made] == [5, 6, 7]
    assert [sample["asked"] for sample in made] == [{"label": 1}] * 3
    assert len(list((workplace / "mine").glob("0*.json"))) == 3
    assert (workplace / "full" / "mine.txt").read_text() == "keep me"
    given = json.loads((workplace / "given.json").read_text())
    assert len(json.loads((workplace / "large" / "000.json").read_text())) == 12
    assert not (workplace / "runs/waves/sampled/002").exists(), "what came to nothing leaves no folder"
    for name in ("000.json", "001.json"):
        edited = json.loads((workplace / "runs/waves/edited/001" / name).read_text())
        assert edited[:4] == pytest.approx(given[:4], abs=1e-5)
        assert edited[4:] != pytest.approx(given[4:], abs=1e-2)


def test_a_finished_run_is_left_as_it_is(heavy):
    """Until more is asked for; what it came to and where is shown."""
    assert "unique ↑" in heavy["go on"].out
    assert heavy["go on"].out.endswith("report: runs/waves/report.html\n")
    assert heavy["go on"].err == "", "nothing is made"
    assert "sample  12/12" in heavy["again"].err


def test_two_commands_at_once_never_have_the_same_folder(tmp_path):
    with _new_folder(None, tmp_path / "sampled") as first, _new_folder(None, tmp_path / "sampled") as second:
        assert [path.name for path in (first, second)] == ["001", "002"]
        (first / "a.json").write_text("1")
        with whole_folder(second) as part:
            (part / "b.json").write_text("2")
    assert [path.name for path in sorted(tmp_path.glob("sampled/*/*"))] == ["a.json", "b.json"]
    with pytest.raises(ValueError, match="001 was filled by another command meanwhile: what it wrote stays"):
        _show_samples(None, None, tmp_path / "sampled" / "001")  # type: ignore[arg-type]
    (tmp_path / "mine").mkdir()
    for out in (None, tmp_path / "mine", tmp_path / "new"):
        with pytest.raises(ValueError, match="stopped"), _new_folder(out, tmp_path / "sampled"):
            raise ValueError("stopped")
    assert (tmp_path / "mine").is_dir(), "an empty folder of the user's stays"
    assert not (tmp_path / "new").exists()
    assert sorted(path.name for path in (tmp_path / "sampled").iterdir()) == ["001", "002"]


def test_progress_outside_of_a_terminal_is_plain_lines(heavy):
    lines = heavy["run"].err.splitlines()
    assert "\x1b" not in heavy["run"].err
    assert [line for line in lines if re.fullmatch(r"sample  12/12  .*in \d.*", line)]
    assert re.search(r"^denoiser  3/3  [\d.,]+/s  loss [\d.]+  in ", heavy["train"].err, re.MULTILINE)


@pytest.mark.slow
def test_ctrl_c_stops_with_130_and_says_how_to_go_on(workplace):
    command = [
        sys.executable,
        "-c",
        "from anylatent.cli import main; main()",
        "train",
        "waves.yaml",
        "train.steps=100000",
        "--out",
        "runs/long",
    ]
    with subprocess.Popen(
        [*command, "--plugin", str(TOY)], cwd=workplace, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's background jobs are born deaf to it
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("denoiser  "):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "stopped; to go on from the last checkpoint: anylatent train runs/long" in rest
    assert "Traceback" not in rest


# --- the parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["run", "r", "--plugin", "a.py", "--debug"], ["--plugin", "a.py", "--debug", "run", "r"]),
        (["run", "--plugin=a.py", "r"], ["--plugin=a.py", "run", "r"]),
        (["run", "--", "--debug"], ["run", "--", "--debug"]),
        (["run", "--plugin"], ["--plugin", "run"]),
    ],
)
def test_global_options_may_stand_anywhere(given, expected):
    assert hoisted(given) == expected


class Page(list):
    """A stream that keeps its lines."""

    def write(self, text: str) -> None:
        self.append(text) if text.strip() else None

    def flush(self) -> None: ...


def test_plain_progress_speaks_at_both_ends_and_every_few_seconds():
    page, now = Page(), [0.0]
    watch = Lines(page, clock=lambda: now[0])
    watch(Stage("denoiser", 30))
    for step in range(1, 31):
        now[0] += 0.25
        watch(Step("denoiser", step, 30, loss=2.0))
        watch(Saved("checkpoint", Path("c")))
    watch(Note("careful"))
    watch(Saved("samples", Path("runs/x/samples")))
    assert page == [
        "denoiser …",
        "denoiser  12/30  4.0/s  loss 2  4.5 s left",
        "denoiser  24/30  4.0/s  loss 2  1.5 s left",
        "denoiser  30/30  4.0/s  loss 2  in 7.5 s",
        "note: careful",
        "samples: runs/x/samples",
    ]


def test_a_resumed_stage_counts_only_its_own_steps():
    now = [0.0]
    tally = Tally(Stage("denoiser", 1000, 900), clock=lambda: now[0])
    now[0] = 10.0
    tally.see(Step("denoiser", 950, 1000, loss=1.0))
    assert tally.text() == "5.0/s  loss 1  10 s left"


def test_bars_fill_stages_that_had_little_to_do_and_tell_what_was_saved():
    page = io.StringIO()
    with bars(Console(file=page, force_terminal=True, width=80, highlight=False)) as watch:
        for event in (
            Stage("latents", 900),
            Stage("denoiser", 2),
            Step("denoiser", 2, 2, loss=0.5),
            Saved("preview", Path("p")),
            Note("[careful]"),
        ):
            watch(event)
        watch(Stage("report", 1))
    text = page.getvalue()
    assert "900/900" in text
    assert "1/1" in text
    assert "note: [careful]" in text
    assert "preview" not in text


def test_numbers_read_well():
    assert [duration(s) for s in (0.04, 9.94, 9.96, 59.4, 61, 3599, 7620)] == [
        "0.0 s",
        "9.9 s",
        "10 s",
        "59 s",
        "1 min 1 s",
        "59 min 59 s",
        "2 h 7 min",
    ]
    assert (rate(1234.5), rate(0.25)) == ("1,234.5/s", "4.0 s each")
    assert [doctor.size(count) for count in (0, 999, 1000, 2.5e6, 3e9)] == ["0 B", "999 B", "1.0 kB", "2.5 MB", "3.0 GB"]
    assert table([("a", "long cell"), ("longer", "b")]) == "a       long cell\nlonger  b"
    judged = measured(
        [Measure("distance", 1.25, 1, 1.5, 64, "lower", 0.5, note="biased"), Measure("x", float("nan"), float("nan"), 0, 2, "neither")]
    )
    assert judged.splitlines()[1].split() == ["distance", "↓", "1.25", "1", "…", "1.5", "64", "0.5"]
    assert judged.splitlines()[2].split() == ["x", "–", "2"]
    assert judged.splitlines()[3] == "distance: biased"
