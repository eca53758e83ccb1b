"""A modality of made-up samples, for tests: short waves `(times, 1)`, that are written as JSON.

It is a plugin in one file too: `anylatent --plugin tests/toys.py …`.
"""

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image, ImageDraw

from anylatent.data import Dataset, DatasetConfig, Record, Split
from anylatent.files import write_json
from anylatent.modality import Modality
from anylatent.random import seed_of, uniform
from anylatent.spec import AxisSpec

anylatent_api = 1


class WaveList(Dataset):
    """Waves in memory."""

    def __init__(self, config: "Waves", split: Split) -> None:
        self.config, self.split = config, split
        count = config.count if split == "train" else max(4, config.count // 4)
        seeds = torch.tensor([seed_of(config.seed, split, i) for i in range(count)])
        self.numbers = uniform(seeds, "waves", 0, 0, 3)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        pitch, phase, size = self.numbers[index].tolist()
        label = int(4 * pitch)
        times = torch.arange(8 + 4 * int(3 * size) if self.config.ragged else 8)
        sample = (torch.sin(0.3 * (1 + label) * times + 2 * math.pi * phase) + 0.5 * pitch)[:, None]
        return Record(sample, {"label": label, "pitch": pitch, "word": "abcd"[: label + 1]}, f"{self.split}-{index}")

    def fingerprint(self) -> str:
        return f"{self.config.key()}/{self.split}"


class Waves(DatasetConfig, kind="toy.waves"):
    """Sines of four kinds with a random phase: 8 times each, or with `ragged` 8, 12 or 16."""

    summary: ClassVar[str] = "made-up waves, 8 to 16 numbers each, with a label, a pitch and a word"

    count: int = 64
    ragged: bool = False
    seed: int = 0

    def build(self, split: Split) -> WaveList:
        return WaveList(self, split)


class Toy(Modality, kind="toy"):
    """Waves."""

    axes: ClassVar[tuple[AxisSpec, ...]] = (AxisSpec(name="t", unit="s", step=0.1),)
    sample: ClassVar[str] = "float32 tensor (times, 1), about -1 to 1.5"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    def sheet(self, samples: Sequence[torch.Tensor], captions: Sequence[str] = ()) -> bytes:
        picture = Image.new("L", (160, 24 * len(samples)), 255)
        draw = ImageDraw.Draw(picture)
        for row, sample in enumerate(samples):
            draw.line([(5 * i, 24 * row + 14 - 6 * y) for i, y in enumerate(sample[:, 0].tolist())], fill=0)
            if captions:
                draw.text((90, 24 * row), captions[row], fill=0)
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return stream.getvalue()

    def write(self, samples: Sequence[torch.Tensor], folder: Path) -> list[Path]:
        return [write_json(folder / f"{index:04d}.json", sample.tolist()) for index, sample in enumerate(samples)]

    def read(self, path: Path) -> torch.Tensor:
        try:
            return torch.tensor(json.loads(path.read_text()), dtype=torch.float32).reshape(-1, 1)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is no wave: expected a list of numbers in JSON ({error})") from error

    def identity(self, sample: torch.Tensor) -> str:
        return json.dumps(sample.tolist())


def toy_recipe(**changes: Any) -> dict[str, Any]:
    """A recipe of a second: `train` and `sample` are merged with its own, everything else replaces."""
    recipe = {
        "modality": {"kind": "toy", "data": {"kind": "toy.waves"}},
        "tokenizer": {"kind": "grid", "patch": [2]},
        "conditions": {"label": {"kind": "class"}},
        "denoiser": {"kind": "dit", "depth": 1, "width": 16, "heads": 2},
        "train": {"steps": 12, "batch": 8, "warmup": 2, "checkpoint": 4, "preview": 2, "log": 1, "ema": [0.5, 0.9]},
        "sample": {"count": 6, "steps": 4, "batch": 4},
        "evaluate": [{"kind": "distinct"}],
    }
    merged = {name: recipe[name] | changes.pop(name, {}) for name in ("train", "sample")}
    return recipe | merged | changes
