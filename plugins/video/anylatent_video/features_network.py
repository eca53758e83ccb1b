"""The network of `video.features`: what it is, how it is trained, its file."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from anylatent.data import Dataset, Record
from anylatent.files import write_bytes
from anylatent.metrics.base import Evidence
from anylatent.random import seed_of
from anylatent.types import Float, Tensor
from anylatent_video.features import ClipFeatures

_VERSION = 1
"""Raised when the same configuration and data would train another network."""
_CHUNK = 128
_ORDERS = ("forwards", "backwards", "shuffled", "still")
_FRAME = 32
"""Features of a frame."""


class Network(nn.Module):
    """Convolutions over each frame, then over time; 64 features; a linear layer for the order of frames and for each condition."""

    centre: Tensor
    scale: Tensor

    def __init__(self, classes: Sequence[int]) -> None:
        super().__init__()
        self.space = nn.Sequential(_convolution(3, 16, 1, 2), _convolution(16, 32, 1, 2), nn.AdaptiveAvgPool3d((None, 4, 4)))
        self.frame = nn.Linear(32 * 16, _FRAME)
        self.time = nn.Sequential(_convolution(32, 64, 3, 1), _convolution(64, 64, 3, 2), nn.AdaptiveAvgPool3d((2, 2, 2)), nn.Flatten())
        self.features = nn.Linear(64 * 8, ClipFeatures.width)
        self.orders = nn.Linear(ClipFeatures.width, len(_ORDERS))
        self.frame_classes = nn.ModuleList(nn.Linear(_FRAME, count) for count in classes)
        self.classes = nn.ModuleList(nn.Linear(ClipFeatures.width, count) for count in classes)
        self.register_buffer("centre", torch.zeros(ClipFeatures.width))
        self.register_buffer("scale", torch.ones(()))

    def forward(
        self, pixels: Float[Tensor, "rows 3 frames height width"]
    ) -> tuple[Float[Tensor, "rows features"], Float[Tensor, "rows frames channels"]]:
        """Features of the clips, and of each frame."""
        maps = self.space(pixels)
        return F.silu(self.features(self.time(maps))), F.silu(self.frame(maps.transpose(1, 2).flatten(2)))


@dataclass(frozen=True)
class Trained:
    """A trained network, and how often it is right on held-out clips, by what it was taught."""

    network: Network
    accuracy: dict[str, float]
    held_out: int

    @property
    def note(self) -> str:
        told = ", ".join(f"{name} {share:.1%}" for name, share in self.accuracy.items())
        return (
            f"the network is right on {self.held_out} held-out real clips: {told}" if told else "no held-out clip to check the network on"
        )

    def features(self, samples: Sequence[Tensor]) -> Float[Tensor, "samples features"]:
        """Features of the clips, centred and scaled as on the training clips."""
        return (self._of(samples, 0) - self.network.centre) / self.network.scale

    def frame_features(self, samples: Sequence[Tensor]) -> Float[Tensor, "samples frames width"]:
        """Features of each frame; the clips have one length."""
        return self._of(samples, 1)

    @torch.no_grad()
    def _of(self, samples: Sequence[Tensor], part: int) -> Tensor:
        return torch.cat([self.network(_pixels(samples[first : first + _CHUNK]))[part] for first in range(0, len(samples), _CHUNK)])


def fingerprint(config: ClipFeatures, train: Dataset) -> str:
    """Of what decides the network."""
    return hashlib.sha256(f"{_VERSION} {config.key()} {train.fingerprint()}".encode()).hexdigest()


def load_or_train(config: ClipFeatures, evidence: Evidence) -> Trained:
    """The network of this configuration and data: from the cache folder, else trained and put there whole."""
    path = evidence.cache / f"video-features-{fingerprint(config, evidence.train)[:32]}.safetensors"
    trained = _load(path)
    if trained is None:
        trained, facts = _train(config, evidence)
        write_bytes(path, save(trained.network.state_dict(), {"facts": json.dumps(facts)}))
    return trained


@dataclass(frozen=True)
class _Lesson:
    """Clips with the class of each under each condition, -1 where it has none."""

    pixels: Float[Tensor, "clips 3 frames height width"]
    classes: Tensor


def _train(config: ClipFeatures, evidence: Evidence) -> tuple[Trained, dict[str, Any]]:
    """Cross-entropies of the order of frames and of the classes, AdamW, one cycle; the same network on every run."""
    records = _records(evidence.train)
    if not records:
        raise ValueError("video.features learns from the training clips, of which there is none")
    labels = {name: _labels(records, name) for name in config.conditions}
    labels = {name: values for name, values in labels.items() if len(values) > 1}
    lesson = _lesson(records, labels)
    facts: dict[str, Any] = {"classes": [len(values) for values in labels.values()]}
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed_of("video.features"))
        network = Network(facts["classes"])
        _descend(network, config, lesson)
        network.eval().requires_grad_(False)
        held_out = _records(evidence.test)
        accuracy = _accuracy(network, _lesson(held_out, labels), list(labels)) if held_out else {}
    trained = Trained(network, accuracy, len(held_out))
    features = trained.features([record.sample for record in records])
    network.centre.copy_(features.mean(0))
    network.scale.copy_((features - features.mean(0)).square().mean().sqrt())
    return trained, facts | {"accuracy": accuracy, "held_out": len(held_out)}


def _descend(network: Network, config: ClipFeatures, lesson: _Lesson) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=0.05)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    for _ in range(config.steps):
        batch = torch.randint(len(lesson.pixels), (config.batch,))
        pixels, orders = _ordered(lesson.pixels[batch])
        features, frames = network(pixels)
        loss = F.cross_entropy(network.orders(features), orders)
        # A clip that runs backwards has another direction: classes are learned from those that run forwards.
        forwards = orders == 0
        for index, (head, frame_head) in enumerate(zip(network.classes, network.frame_classes, strict=True)):
            target = lesson.classes[batch, index].masked_fill(~forwards, -1)
            loss = loss + _entropy(head(features), target) + 0.5 * _entropy(frame_head(frames.mean(1)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()


def _ordered(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the clips as they are; the others backwards, shuffled or standing still, a third each."""
    rows, frames = len(pixels), pixels.shape[2]
    orders = torch.where(torch.rand(rows) < 0.5, 0, torch.randint(1, len(_ORDERS), (rows,)))
    places = torch.stack([_places(order, frames) for order in orders.tolist()])
    return pixels.gather(2, places[:, None, :, None, None].expand_as(pixels)), orders


def _places(order: int, frames: int) -> Tensor:
    match _ORDERS[order]:
        case "forwards":
            return torch.arange(frames)
        case "backwards":
            return torch.arange(frames).flip(0)
        case "shuffled":
            return torch.randperm(frames)
        case _:
            return torch.randint(frames, (1,)).expand(frames)


def _entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the rows that have a class; 0 if none has."""
    known = target >= 0
    return F.cross_entropy(logits[known], target[known], label_smoothing=0.05) if known.any() else logits.sum() * 0


def _accuracy(network: Network, lesson: _Lesson, names: Sequence[str]) -> dict[str, float]:
    with torch.no_grad():
        features = torch.cat([network(chunk)[0] for chunk in lesson.pixels.split(_CHUNK)])
        pixels, orders = _ordered(lesson.pixels)
        shown = torch.cat([network(chunk)[0] for chunk in pixels.split(_CHUNK)])
    right = {"order": float((network.orders(shown).argmax(1) == orders).float().mean())}
    for index, name in enumerate(names):
        known = lesson.classes[:, index] >= 0
        if known.any():
            right[name] = float((network.classes[index](features[known]).argmax(1) == lesson.classes[known, index]).float().mean())
    return right


def _load(path: Path) -> Trained | None:
    """None if it is not there or damaged: it can always be made again."""
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        network = Network(facts["classes"])
        network.load_state_dict(weights)
        return Trained(network.eval().requires_grad_(False), facts["accuracy"], facts["held_out"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
        return None


def _records(data: Dataset) -> list[Record]:
    return [data[index] for index in range(len(data))]


def _labels(records: Sequence[Record], condition: str) -> list[Any]:
    found = {record.conditions.get(condition) for record in records} - {None}
    return sorted(found, key=lambda label: (str(type(label)), label))


def _lesson(records: Sequence[Record], labels: dict[str, list[Any]]) -> _Lesson:
    places = {name: {label: place for place, label in enumerate(values)} for name, values in labels.items()}
    rows = [[places[name].get(record.conditions.get(name), -1) for name in labels] for record in records]
    return _Lesson(_pixels([record.sample for record in records]), torch.tensor(rows, dtype=torch.int64).reshape(len(records), len(labels)))


def _pixels(samples: Sequence[Tensor]) -> Float[Tensor, "rows 3 frames height width"]:
    return torch.stack([sample.float().cpu() for sample in samples]).permute(0, 4, 1, 2, 3)


def _convolution(inner: int, outer: int, time: int, space: int) -> nn.Sequential:
    convolution = nn.Conv3d(inner, outer, (time, 3, 3), (1, space, space), (time // 2, 1, 1), bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(outer), nn.SiLU())
