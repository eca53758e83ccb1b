"""Clouds in memory: what every data set of this plugin builds."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from anylatent.data import Collected
from anylatent_points.cloud import Cloud


class Clouds(Collected):
    """Clouds with their conditions and ids."""

    def __init__(
        self, clouds: Sequence[Cloud], known: Sequence[Mapping[str, Any]], ids: Sequence[str], problems: Sequence[str] = ()
    ) -> None:
        super().__init__(known, ids, problems)
        assert len(clouds) == len(ids)
        self.clouds = clouds

    def sample(self, index: int) -> Cloud:
        return self.clouds[index]

    def digest(self) -> str:
        digest = hashlib.sha256()
        for cloud in self.clouds:
            parts = [cloud.points] if cloud.mesh is None else [cloud.points, cloud.mesh.vertices, cloud.mesh.faces]
            for part in parts:
                digest.update(f"{tuple(part.shape)}".encode() + part.contiguous().numpy().tobytes())
        digest.update(json.dumps([[cloud.scale, cloud.unit] for cloud in self.clouds]).encode())
        return digest.hexdigest()


def extent_of(cloud: Cloud) -> list[float]:
    """Its box as a condition: width, depth, height in units of half the box's diagonal, to three places."""
    return [round(side, 3) for side in cloud.extent.tolist()]
