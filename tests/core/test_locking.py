"""A run's folder has one worker at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from anylatent.locking import FolderLock, InUse

HOLDER = """
import sys, time
from pathlib import Path
from anylatent.locking import FolderLock
with FolderLock(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(600)
"""


def test_another_process_is_refused_by_name_and_let_in_when_the_first_is_killed(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == "held\n"
        by = rf"{tmp_path} is being worked on by process {other.pid} on .*, since 20.*: wait for it, stop it, or"
        with pytest.raises(InUse, match=by), FolderLock(tmp_path).held():
            pass
    finally:
        other.kill()  # not asked to clean up
        other.wait()
        other.stdout.close()
    assert (tmp_path / ".lock").exists()
    with FolderLock(tmp_path).held():
        pass
    assert not list(tmp_path.iterdir())


def test_one_worker_may_hold_it_twice_and_leaves_it_free(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with lock.held(), lock.held(), pytest.raises(InUse), FolderLock(tmp_path).held():
        pass
    with FolderLock(tmp_path).held():
        pass
    assert not list(tmp_path.iterdir())
