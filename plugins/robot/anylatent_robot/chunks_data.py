"""Demonstrations in memory, cut into chunks."""

import hashlib
from bisect import bisect_right
from functools import cached_property
from itertools import accumulate

from anylatent.data import Dataset, Record
from anylatent_robot.demonstrations import Recorded


class Chunks(Dataset):
    """A record for each step (every `stride`-th) of each episode."""

    def __init__(self, recorded: Recorded, history: int, horizon: int, stride: int) -> None:
        self.recorded, self.history, self.horizon, self.stride = recorded, history, horizon, stride
        self.problems = (*recorded.problems, *recorded.unread)
        counts = [-(-len(episode.actions) // stride) for episode in recorded.episodes]
        self._ends = list(accumulate(counts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._ends, index)
        episode = self.recorded.episodes[number]
        step = (index - (self._ends[number - 1] if number else 0)) * self.stride
        conditions = {name: text for name, text in (("task", episode.task), ("caption", episode.caption)) if text}
        return Record(episode.chunk(step, self.history, self.horizon, self.recorded.hz), conditions, f"{episode.id}/{step}")

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.history} {self.horizon} {self.stride} {self.recorded.hz}".encode())
        for episode in self.recorded.episodes:
            digest.update(f"{episode.id}\x1f{episode.task}\x1f{episode.caption}\x1f{tuple(episode.observations.shape)}".encode())
            digest.update(episode.observations.contiguous().numpy().tobytes())
            digest.update(episode.actions.contiguous().numpy().tobytes())
        return digest.hexdigest()
