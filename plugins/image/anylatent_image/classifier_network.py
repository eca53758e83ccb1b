"""The network of `image.classifier`: what it is, how it is trained, its file."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from anylatent.data import Dataset, Record
from anylatent.files import write_bytes
from anylatent.random import seed_of
from anylatent.types import Float, Int, Tensor
from anylatent_image.classifier import Classifier

_VERSION = 1
"""Raised when the same configuration and data would train another network."""
_CHUNK = 512


class Network(nn.Module):
    """Convolutions and halvings down to 4 x 4 pixels, 64 features, one linear layer to the classes."""

    centre: Tensor
    scale: Tensor

    def __init__(self, channels: int, classes: int, side: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        inner, outer = channels, 32
        for _ in range(max(1, (side - 1).bit_length() - 2)):
            parts += [_convolution(inner, outer), _convolution(outer, outer), nn.MaxPool2d(2)]
            inner, outer = outer, min(2 * outer, 128)
        self.body = nn.Sequential(*parts, _convolution(inner, outer), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.features = nn.Linear(4 * outer, Classifier.width)
        self.classes = nn.Linear(Classifier.width, classes)
        self.register_buffer("centre", torch.zeros(Classifier.width))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, pixels: Float[Tensor, "rows channels height width"]) -> Float[Tensor, "rows features"]:
        return F.silu(self.features(self.body(pixels)))


@dataclass(frozen=True)
class Trained:
    """A trained network, its classes in order, and what it reached on held-out images (None if none are labelled)."""

    network: Network
    labels: list[Any]
    accuracy: float | None
    held_out: int

    @property
    def note(self) -> str:
        if self.accuracy is None:
            return "the classifier could not be checked: no held-out image is labelled"
        return f"the classifier is right on {self.accuracy:.1%} of {self.held_out} held-out real images"

    def features(self, samples: Sequence[Tensor]) -> Float[Tensor, "samples features"]:
        """Features before the last layer, centred and scaled as on the training images."""
        return (self._raw(samples) - self.network.centre) / self.network.scale

    @torch.no_grad()
    def classes(self, samples: Sequence[Tensor]) -> list[Any]:
        """The most likely label of each sample."""
        return [self.labels[index] for index in self.network.classes(self._raw(samples)).argmax(1).tolist()]

    @torch.no_grad()
    def log_probabilities(self, samples: Sequence[Tensor]) -> Float[Tensor, "samples classes"]:
        """Of each class, in the order of `labels`."""
        return self.network.classes(self._raw(samples)).log_softmax(1)

    @torch.no_grad()
    def _raw(self, samples: Sequence[Tensor]) -> Float[Tensor, "samples features"]:
        chunks = [_pixels(samples[first : first + _CHUNK]) for first in range(0, len(samples), _CHUNK)]
        return torch.cat([self.network(chunk) for chunk in chunks])


def fingerprint(config: Classifier, train: Dataset) -> str:
    """Of what decides the network."""
    return hashlib.sha256(f"{_VERSION} {config.key()} {train.fingerprint()}".encode()).hexdigest()


def load_or_train(config: Classifier, train: Dataset, test: Dataset, cache: Path) -> Trained:
    """The network of this configuration and data: from the cache folder, else trained and put there whole."""
    path = cache / f"image-classifier-{fingerprint(config, train)[:32]}.safetensors"
    trained = _load(path)
    if trained is None:
        trained, facts = _train(config, train, test)
        write_bytes(path, save(trained.network.state_dict(), {"facts": json.dumps(facts)}))
    return trained


def _train(config: Classifier, train: Dataset, test: Dataset) -> tuple[Trained, dict[str, Any]]:
    """Cross-entropy on randomly shifted images, AdamW, one cycle; the same network on every run."""
    records = _labelled(train, config.condition)
    if not records:
        raise ValueError(f"image.classifier learns from the condition '{config.condition}', which no training image has")
    labels = sorted({record.conditions[config.condition] for record in records}, key=lambda label: (str(type(label)), label))
    if len(labels) < 2:
        raise ValueError(f"image.classifier needs at least 2 classes, but every training image has {config.condition} {labels[0]!r}")
    samples = [record.sample for record in records]
    pixels = _pixels(samples)
    classes = torch.tensor([labels.index(record.conditions[config.condition]) for record in records])
    facts = {"channels": pixels.shape[1], "side": max(pixels.shape[2:]), "labels": labels}
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed_of("image.classifier"))
        network = Network(facts["channels"], len(labels), facts["side"])
        _descend(network, config, pixels, classes)
    network.eval().requires_grad_(False)
    held_out = _labelled(test, config.condition)
    trained = Trained(network, labels, None, len(held_out))
    features = trained.features(samples)
    network.centre.copy_(features.mean(0))
    network.scale.copy_((features - features.mean(0)).square().mean().sqrt())
    if held_out:
        guesses = trained.classes([record.sample for record in held_out])
        right = sum(guess == record.conditions[config.condition] for guess, record in zip(guesses, held_out))
        trained = replace(trained, accuracy=right / len(held_out))
    return trained, facts | {"accuracy": trained.accuracy, "held_out": trained.held_out}


def _descend(network: Network, config: Classifier, pixels: Tensor, classes: Tensor) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=0.05)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    reach = max(1, round(max(pixels.shape[2:]) / 12))
    for batch in _batches(len(pixels), config.batch, config.steps):
        shifted = _shifted(pixels[batch], reach)
        loss = F.cross_entropy(network.classes(network(shifted)), classes[batch], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()


def _batches(count: int, size: int, steps: int) -> Iterator[Int[Tensor, " rows"]]:
    """`steps` batches of indices, in a new order each epoch."""
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        while len(order) < size:
            order = torch.cat((order, torch.randperm(count)))
        yield order[:size]
        order = order[size:]


def _shifted(pixels: Float[Tensor, "rows channels height width"], reach: int) -> Float[Tensor, "rows channels height width"]:
    """Each image moved by up to `reach` pixels a side; the border is repeated."""
    rows, _, height, width = pixels.shape
    padded = F.pad(pixels, (reach,) * 4, mode="replicate")
    y, x = torch.randint(0, 2 * reach + 1, (2, rows, 1))
    ys, xs = y + torch.arange(height), x + torch.arange(width)
    return padded[torch.arange(rows)[:, None, None], :, ys[:, :, None], xs[:, None, :]].permute(0, 3, 1, 2)


def _load(path: Path) -> Trained | None:
    """None if it is not there or damaged: it can always be made again."""
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        network = Network(facts["channels"], len(facts["labels"]), facts["side"])
        network.load_state_dict(weights)
        return Trained(network.eval().requires_grad_(False), facts["labels"], facts["accuracy"], facts["held_out"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
        return None


def _labelled(data: Dataset, condition: str) -> list[Record]:
    return [record for record in map(data.__getitem__, range(len(data))) if record.conditions.get(condition) is not None]


def _pixels(samples: Sequence[Tensor]) -> Float[Tensor, "rows channels height width"]:
    return torch.stack([sample.float().cpu() for sample in samples]).permute(0, 3, 1, 2)


def _convolution(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inner, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.SiLU())
