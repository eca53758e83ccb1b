"""The records of `audio.struck`: times and pitches, played when they are asked for."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from anylatent.data import Dataset, Record, Split
from anylatent.random import seed_of, uniform
from anylatent_audio.instruments import faded
from anylatent_audio.sound import Sound
from anylatent_audio.struck import Struck

_VERSION = 1
"""Raised when the same description would be played differently."""


@dataclass(frozen=True)
class Score:
    """What a clip plays: (seconds, MIDI pitch) pairs, and how long it is."""

    events: tuple[tuple[float, int], ...]
    seconds: float
    id: str


class StruckRecords(Dataset):
    """A clip a score."""

    def __init__(self, config: Struck, scores: list[Score]) -> None:
        self.config, self.scores = config, scores
        text = json.dumps([[score.events, score.seconds, score.id] for score in scores])
        self._fingerprint = hashlib.sha256(f"{_VERSION} {config.key()} {config.font.fingerprint} {text}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: int) -> Record:
        return Record(self._clip(self.scores[index]), self.conditions(index), self.scores[index].id)

    def conditions(self, index: int) -> Mapping[str, Any]:
        score = self.scores[index]
        return {"events": [list(event) for event in score.events], "strikes": len(score.events), "seconds": score.seconds}

    def fingerprint(self) -> str:
        return self._fingerprint

    def _clip(self, score: Score) -> Sound:
        config = self.config
        samples = torch.zeros(round(score.seconds * config.rate))
        for at, pitch in score.events:
            first = round(at * config.rate)
            note = config.played(config.instrument, pitch, config.velocity, 0.8 * config.ring, config.ring).samples
            room = max(0, min(len(note), len(samples) - first))
            samples[first : first + room] += note[:room]
        return Sound(faded(samples.clamp(-1, 1), config.rate), config.rate)


def own_scores(config: Struck, split: Split) -> list[Score]:
    """Random ones: clip i is the same whatever `count` is."""
    return [
        _random_score(config, index)
        for index in range(config.count)
        if (seed_of("audio.struck", index) % 10_000 < 10_000 * config.test_share) == (split == "test")
    ]


def _random_score(config: Struck, index: int) -> Score:
    """One to `strikes` notes, `apart` by rejection: a time too near to another is left out."""
    u = uniform(torch.tensor([seed_of("audio.struck", index)]), "score", 0, 0, 2 * config.strikes + 1)[0].tolist()
    wanted = 1 + int(u[0] * config.strikes)
    latest = max(0.0, config.seconds - config.apart)
    times: list[float] = []
    for number in u[1 : 1 + wanted]:
        time = round(number * latest, 4)
        if all(abs(time - other) >= config.apart for other in times):
            times.append(time)
    pitches = [config.pitches[int(number * len(config.pitches))] for number in u[1 + config.strikes :]]
    return Score(tuple(zip(sorted(times), pitches, strict=False)), config.seconds, f"struck-{index:04d}")


def scores_of(leading: Dataset) -> list[Score]:
    """The scores that another data set's conditions hold."""
    return [_score_of(leading[index], index) for index in range(len(leading))]


def _score_of(record: Record, index: int) -> Score:
    events, seconds = record.conditions.get("events"), record.conditions.get("seconds")
    if events is None or seconds is None:
        raise ValueError(
            f"record {index} ('{record.id}') has no conditions `events` and `seconds`, it has {sorted(record.conditions)}: "
            "audio.struck plays notes at a list of (seconds, MIDI pitch), in a clip of so many seconds"
        )
    try:
        pairs = tuple((float(at), int(pitch)) for at, pitch in events)
    except (TypeError, ValueError):
        raise ValueError(f"record {index} ('{record.id}'): `events` is {events!r}, expected pairs (seconds, MIDI pitch)") from None
    if any(not 0 <= at < seconds or not 0 <= pitch <= 127 for at, pitch in pairs):
        raise ValueError(f"record {index} ('{record.id}'): `events` {list(pairs)} must lie within 0 and {seconds:g} s and 0 and 127")
    return Score(pairs, float(seconds), record.id)
