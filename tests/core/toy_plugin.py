"""A plugin in one file, for the tests: waves of 8 numbers with a label, on one axis. `--plugin tests/core/toy_plugin.py`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from anylatent.data import Dataset, DatasetConfig, Record, Split
from anylatent.files import write_json
from anylatent.lazy import torch
from anylatent.modality import Modality
from anylatent.spec import AxisSpec

ONE_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8ffff3f0005fe02fe0def46b80000000049454e44ae426082"
)


class WaveSet(Dataset):
    def __init__(self, split: Split, count: int) -> None:
        self.count, self.split = count, split

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Record:
        label = index % 3
        phase = torch.tensor(index * 0.7 + (0.3 if self.split == "test" else 0.0))
        wave = (torch.arange(8) * (label + 1) * 0.5 + phase).sin()
        return Record(wave[:, None], {"label": label}, f"{self.split} {index}")

    def fingerprint(self) -> str:
        return f"waves {self.split} {self.count}"


class Waves(DatasetConfig, kind="toy.waves"):
    """Sine waves of three frequencies."""

    summary: ClassVar[str] = "sine waves, made here"
    count: int = Field(60, ge=1, description="How many.")
    fraction: float = Field(0.5, gt=0, lt=1)
    file: Path = Path("waves.txt")

    @model_validator(mode="after")
    def _odd(self) -> "Waves":
        if self.count == 13:
            raise ValueError("13 waves bring bad luck: ask for 12")
        return self

    def build(self, split: Split) -> WaveSet:
        return WaveSet(split, self.count)


class Toy(Modality, kind="toy"):
    """Waves of 8 numbers, −1 … 1."""

    axes: ClassVar[tuple[AxisSpec, ...]] = (AxisSpec(name="x", unit="step"),)
    sample: ClassVar[str] = "float32 tensor (8, 1)"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    def sheet(self, samples: Sequence[Any], captions: Sequence[str] = ()) -> bytes:
        return ONE_PIXEL

    def write(self, samples: Sequence[Any], folder: Path) -> list[Path]:
        return [write_json(folder / f"{i:03d}.json", sample.flatten().tolist()) for i, sample in enumerate(samples)]

    def read(self, path: Path) -> Any:
        try:
            return torch.tensor(json.loads(path.read_text())).reshape(8, 1)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is not a JSON list of 8 numbers") from error

    def identity(self, sample: Any) -> str:
        return str(sample.flatten().tolist())
