"""A folder that one process works in at a time."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


class InUse(ValueError):
    """Another process works in the folder."""


class FolderLock:
    """The right to work in a folder, for one process; within it, as often as it likes.

    A lock of the kernel on `.lock`, which is there while it is held: it goes with its process, however that ends, so that a file
    that a killed one left behind locks nobody out.
    Where the file system (or the system) has no such locks, everyone is let in.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._depth, self._file = 0, None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Errors: `InUse` if another process holds it: which, and since when."""
        if self._depth == 0:
            self._file = self._taken()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0 and self._file is not None:
                self.path.unlink(missing_ok=True)
                self._file.close()
                self._file = None

    def _taken(self) -> IO[str] | None:
        try:
            import fcntl
        except ImportError:  # no locks of this kind on this system
            return None
        while True:
            file: Any = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 (held open: the lock lives as long as it does)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                text = _holder(file)
                file.close()
                raise InUse(f"{self.path.parent} is being worked on by {text}: wait for it, stop it, or choose another folder") from None
            except OSError:
                return file
            if self.path.exists() and os.path.samestat(self.path.stat(), os.fstat(file.fileno())):
                break
            file.close()  # whoever held it has just left and removed it
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}, file)
        file.flush()
        return file


def _holder(file: Any) -> str:
    try:
        file.seek(0)
        who = json.load(file)
        return f"process {who['pid']} on {who['host']}, since {who['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
