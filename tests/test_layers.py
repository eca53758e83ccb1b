"""The map of the house is what the code does: import-linter's contracts hold, and cover every distribution."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def lint(config: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("lint-imports")), "--config", str(config), "--no-cache"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_arrows_go_one_way():
    done = lint(ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_arrow_is_found(tmp_path):
    """The contract can fail: with the floors upside down, it does."""
    upside_down = tmp_path / "contract.ini"
    upside_down.write_text(
        "[importlinter]\nroot_package = anylatent\n"
        "[importlinter:contract:layers]\nname = upside down\ntype = layers\nlayers =\n    anylatent.spec\n    anylatent.solvers\n"
    )
    done = lint(upside_down)
    assert done.returncode == 1
    assert "anylatent.solvers is not allowed to import anylatent.spec" in done.stdout


def test_every_distribution_is_under_contract():
    plugins = {path.name for path in ROOT.glob("plugins/*/anylatent_*") if path.is_dir()}
    contracts = {contract["id"]: contract for contract in SETTINGS["tool"]["importlinter"]["contracts"]}
    assert set(SETTINGS["tool"]["importlinter"]["root_packages"]) == {"anylatent"} | plugins
    assert set(contracts["core-alone"]["forbidden_modules"]) == plugins
    assert set(contracts["plugins-apart"]["modules"]) == plugins
    assert SETTINGS["tool"]["importlinter"]["contracts"][0]["exhaustive"]


def test_shapes_are_checked_in_every_distribution():
    """The pytest option that turns on jaxtyping names every package, or its shapes are never checked."""
    plugins = {path.name for path in ROOT.glob("plugins/*/anylatent_*") if path.is_dir()}
    (option,) = (o for o in SETTINGS["tool"]["pytest"]["ini_options"]["addopts"] if o.startswith("--jaxtyping-packages="))
    assert set(option.partition("=")[2].split(",")[:-1]) == {"anylatent"} | plugins


def test_a_wrong_shape_is_found():
    import pytest
    import torch
    from jaxtyping import TypeCheckError

    from anylatent.random import uniform

    with pytest.raises(TypeCheckError):
        uniform(torch.zeros(2, 2, dtype=torch.int64), "tokens", 0, 0, 4)
