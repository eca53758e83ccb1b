"""Clouds in memory: what every data set of this plugin builds."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from anylatent.data import Dataset, Record
from anylatent_points.cloud import Cloud


class Clouds(Dataset):
    """Clouds with their conditions and ids."""

    def __init__(self, clouds: Sequence[Cloud], conditions: Sequence[Mapping[str, Any]], ids: Sequence[str], problems: Sequence[str] = ()):
        assert len(clouds) == len(conditions) == len(ids)
        self.clouds = clouds
        self._conditions = conditions
        self.ids = ids
        self.problems = tuple(problems)

    def __len__(self) -> int:
        return len(self.clouds)

    def __getitem__(self, index: int) -> Record:
        return Record(self.clouds[index], self._conditions[index], self.ids[index])

    def conditions(self, index: int) -> Mapping[str, Any]:
        return self._conditions[index]

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for cloud in self.clouds:
            parts = [cloud.points] if cloud.mesh is None else [cloud.points, cloud.mesh.vertices, cloud.mesh.faces]
            for part in parts:
                digest.update(f"{tuple(part.shape)}".encode() + part.contiguous().numpy().tobytes())
        digest.update(json.dumps([[cloud.scale, cloud.unit] for cloud in self.clouds]).encode())
        digest.update(json.dumps([self._conditions, self.ids], sort_keys=True).encode())
        return digest.hexdigest()


def extent_of(cloud: Cloud) -> list[float]:
    """Its box as a condition: width, depth, height in units of half the box's diagonal, to three places."""
    return [round(side, 3) for side in cloud.extent.tolist()]
