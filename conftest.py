"""What every test of the workspace runs under, in tests/ and in plugins/*/tests."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# Examples take as long as they take: the machine may be busy, and a slow example is no wrong one.
settings.register_profile("anylatent", deadline=None, max_examples=30, print_blob=True)
settings.load_profile("anylatent")


def pytest_configure(config: pytest.Config) -> None:
    """One torch thread, and a cache of the tests' own: kept between runs, so that metric networks are trained once."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["ANYLATENT_CACHE"] = str(config.rootpath / ".pytest_cache" / "anylatent")


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)


RunCli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_cli(tmp_path: Path) -> RunCli:
    """`run_cli("recipe", "check", path)`: the installed command in a process of its own, in a fresh folder.

    Returns the finished process with its text output. `code=0` is the exit code that is expected, None for any;
    `cwd`, `stdin`, `env` (added to the test's own) and `timeout` (seconds) as in `subprocess.run`.
    """

    def run(
        *arguments: object,
        code: int | None = 0,
        cwd: Path = tmp_path,
        stdin: str = "",
        env: dict[str, str] | None = None,
        timeout: float = 300,
    ) -> "subprocess.CompletedProcess[str]":
        command = [str(Path(sys.executable).with_name("anylatent")), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=cwd, input=stdin, env=os.environ | {"COLUMNS": "140"} | (env or {}),
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if code is not None and done.returncode != code:
            pytest.fail(f"{' '.join(command)}: exit code {done.returncode}, expected {code}\n{done.stdout}\n{done.stderr}")
        return done

    return run
