"""A disk that runs full, for tests."""

import errno
import os
from typing import Any

import pytest

from anylatent import files


class _Writer:
    """A file that takes what the disk has room for, and no more."""

    def __init__(self, stream: Any, disk: dict[str, int]) -> None:
        self.stream, self.disk = stream, disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *problem: object) -> None:
        self.stream.close()

    def write(self, content: Any) -> int:
        room = self.disk["room"]
        self.disk["room"] = max(0, room - len(content))
        if len(content) > room:
            self.stream.write(content[:room])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.stream.write(content)


def fill_disk(monkeypatch: pytest.MonkeyPatch, room: int = 0) -> None:
    """From now on `anylatent.files` can write `room` bytes; Python does not say which file it was that failed."""
    disk = {"room": room}

    def opened(path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        stream = open(path, mode, *rest, **options)  # noqa: SIM115 (the caller closes it)
        return stream if "r" in mode else _Writer(stream, disk)

    monkeypatch.setattr(files, "open", opened, raising=False)
