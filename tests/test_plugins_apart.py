"""Plugins come and go: each works without the others, the core without any, and a broken one harms nobody.

A place where a plugin is not installed is a folder of links to everything that is, but for the plugin and what only it needs.
"""

import os
import site
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from small_runs import digits
from toys import toy_recipe

ROOT = Path(__file__).parents[1]
NEEDS = {
    "image": {"sklearn", "scikit_learn"},
    "molecule": {"rdkit", "selfies"},
    "video": {"av"},
    "audio": {"torchaudio", "soundfile", "_soundfile", "_soundfile_data", "pretty_midi", "mido"},
    "points": {"trimesh", "skimage", "scikit_image"},
    "robot": {"metaworld", "mujoco", "gymnasium", "pyarrow"},
    "text": {"transformers", "tokenizers"},
}
"""What each plugin alone needs."""
MODALITIES = [name for name in NEEDS if name != "text"]


@dataclass
class Place:
    """Where some plugins are installed, and nothing else is to be found."""

    packages: Path
    plugins: Collection[str]

    def run(self, *arguments: object, code: int = 0, **environment: str) -> str:
        """The command there: what it prints."""
        paths = [self.packages, ROOT / "core", *(ROOT / "plugins" / name for name in self.plugins)]
        inherited = {
            name: value for name, value in os.environ.items() if name not in ("ANYLATENT_BLOCK", "ANYLATENT_PLUGINS", "PYTHONHOME")
        }
        cache = str(self.packages.parent / "cache")
        done = subprocess.run(
            [sys.executable, "-S", "-c", "from anylatent.cli import main; main()", *map(str, arguments)],
            env=inherited | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "ANYLATENT_CACHE": cache} | environment,
            cwd=self.packages.parent, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Place]:
    def made(*plugins: str) -> Place:
        packages = tmp_path / "packages"
        packages.mkdir()
        hidden = {needed for name, needs in NEEDS.items() if name not in plugins for needed in needs}
        for installed in map(Path, site.getsitepackages()):
            for entry in installed.iterdir():
                top = entry.name.split("-")[0].split(".")[0]
                gone = top in hidden or (top.startswith("anylatent_") and top.removeprefix("anylatent_") not in plugins)
                if not gone and entry.suffix != ".pth":
                    (packages / entry.name).symlink_to(entry)
        return Place(packages, plugins)

    return made


def written(folder: Path, recipe: dict) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


OFTEN = {"image", "molecule"}
"""The rest are in the slow tests: each takes a process of its own with a training."""
FEW = digits(train={"steps": 3, "checkpoint": 2}, sample={"count": 3, "steps": 2})


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in MODALITIES])
def test_each_modality_works_where_no_other_is_installed(name: str, place: Callable[..., Place], tmp_path: Path) -> None:
    """With the core and its own dependencies alone, its smoke recipe runs; a recipe of another is refused with what to install."""
    here, recipe = place(name), ROOT / "recipes" / name / "smoke.yaml"
    assert here.run("plugins").split()[:4] == [name, f"anylatent-{name}", "0.1.0", "ready"]
    few = ["train.steps=3", "train.checkpoint=2", "train.batch=8", "train.preview=2", "sample.count=4", "evaluate=[]"]
    trained = ["tokenizer.train.steps=3"] if "train" in yaml.safe_load(recipe.read_text())["tokenizer"] else []
    said = here.run("run", recipe, *few, *trained, "--out", tmp_path / "run")
    assert f"report: {tmp_path / 'run' / 'report.html'}" in said
    other = "image" if name != "image" else "molecule"
    refused = here.run("recipe", "check", ROOT / "recipes" / other / "smoke.yaml", code=1)
    assert f"no installed plugin provides '{other}': try `pip install anylatent-{other}`" in refused
    assert "modality.kind" in refused, "with its place"


def test_captions_work_beside_a_modality_of_a_file(place: Callable[..., Place], tmp_path: Path) -> None:
    """`text` is no modality: alone with the core it goes with whatever has captions."""
    here, recipe = place("text"), toy_recipe(conditions={"word": {"kind": "text.bytes"}})
    assert here.run("plugins").split()[:4] == ["text", "anylatent-text", "0.1.0", "ready"]
    said = here.run("--plugin", ROOT / "tests" / "toys.py", "run", written(tmp_path, recipe), "--out", tmp_path / "run")
    assert f"report: {tmp_path / 'run' / 'report.html'}" in said
    made = here.run("--plugin", ROOT / "tests" / "toys.py", "sample", tmp_path / "run", "--count", "2", "--condition", "word=abc")
    assert "2 samples in" in made


def test_the_core_works_with_no_plugin_but_a_file(place: Callable[..., Place], tmp_path: Path) -> None:
    here = place()
    assert "no plugin is installed; each modality is a package, anylatent-NAME" in here.run("plugins")
    assert "residual-cache" in here.run("recipe", "schema")
    said = here.run("--plugin", ROOT / "tests" / "toys.py", "run", written(tmp_path, toy_recipe()), "--out", tmp_path / "run")
    assert f"report: {tmp_path / 'run' / 'report.html'}" in said
    assert "6 samples" in (tmp_path / "run" / "report.html").read_text()
    refused = here.run("sample", tmp_path / "run", code=1)
    assert "no installed plugin provides 'toy'" in refused
    assert "--plugin FILE" in refused


BROKEN = {
    "raises": (
        "anylatent_api = 1\nimport a_package_that_is_not_there\n",
        "ModuleNotFoundError: No module named 'a_package_that_is_not_there'",
    ),
    "exits": ("anylatent_api = 1\nraise SystemExit(3)\n", "SystemExit: 3"),
    "no Python": ("anylatent_api = 1\ndef broken(:\n", "SyntaxError"),
}


@pytest.mark.parametrize(("source", "cause"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_with_its_cause_and_breaks_nothing(
    source: str, cause: str, place: Callable[..., Place], tmp_path: Path
) -> None:
    here = place("image", "molecule")
    info = here.packages / "anylatent_broken-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: anylatent-broken\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[anylatent]\nbroken = anylatent_broken\n")
    (here.packages / "anylatent_broken.py").write_text(source)
    assert [line.split()[0] for line in here.run("plugins").splitlines()] == ["broken", "image", "molecule"], "listing imports none"
    why = here.run("plugins", "info", "broken", code=1)
    assert "error: plugin 'broken' (anylatent-broken 2.0) is broken: " in why
    assert cause in why
    refused = here.run("recipe", "check", written(tmp_path, FEW | {"tokenizer": {"kind": "broken.tokens"}}), code=1)
    assert "plugin 'broken' (anylatent-broken 2.0) is broken: " in refused
    assert cause in refused
    schema = here.run("recipe", "schema")
    assert "left out: plugin 'broken'" in schema
    assert "image.digits" in schema
    assert "molecule.selfies" in schema
    if cause.startswith("ModuleNotFound"):
        here.run("train", written(tmp_path, FEW), "--out", tmp_path / "run")


def test_a_blocked_plugin_is_left_out_and_says_so(run_cli, tmp_path: Path) -> None:
    recipe = written(tmp_path, FEW)
    for environment, why in (
        ({"ANYLATENT_BLOCK": "image"}, "the block-list (ANYLATENT_BLOCK) names it"),
        ({"ANYLATENT_PLUGINS": "molecule"}, "the allow-list (ANYLATENT_PLUGINS) admits only: molecule"),
    ):
        listed = run_cli("plugins", env=environment).stdout
        assert why in next(line for line in listed.splitlines() if line.startswith("image"))
        assert "ready" in next(line for line in listed.splitlines() if line.startswith("molecule"))
        refused = run_cli("recipe", "show", recipe, env=environment, code=1).stderr
        assert "plugin 'image' (anylatent-image 0.1.0) is blocked: " in refused
        assert why in refused
    run_cli("recipe", "show", recipe, env={"ANYLATENT_BLOCK": "molecule"})
    run_cli("recipe", "show", recipe, env={"ANYLATENT_PLUGINS": "image"})


def test_a_recipe_imports_its_own_plugin_and_no_other(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from anylatent import load_recipe\n"
        "from anylatent.plan import make_plan\n"
        "make_plan(load_recipe(sys.argv[1])).require()\n"
        "assert 'anylatent_image' in sys.modules\n"
        "others = {'anylatent_molecule', 'rdkit', 'selfies', 'pytest', 'hypothesis'} & set(sys.modules)\n"
        "assert not others, others\n"
    )
    done = subprocess.run([sys.executable, "-c", code, written(tmp_path, FEW)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
