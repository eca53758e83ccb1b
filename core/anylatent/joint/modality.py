"""Samples of several parts: how they are read, shown and told apart."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from anylatent.files import write_json
from anylatent.joint import sheets
from anylatent.joint.data import ConditionData, JointData
from anylatent.modality import Modality
from anylatent.spec import Axes

JointSample = dict[str, Any]
"""A sample of each part by name; None for a part that was not made."""

LIST = "joint.json"


class Label(Modality, kind="label"):
    """A class by its number or name, to be made beside something else."""

    sample: ClassVar[str] = "a whole number or a text"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    data: ConditionData

    def sheet(self, samples: Sequence[Any], captions: Sequence[str] = ()) -> bytes:
        """The labels in rows of ten; with captions in a column, each beside its own."""
        labels = ["–" if label is None else str(label) for label in samples]
        wide = max(map(len, labels))
        if not any(captions):
            rows = [labels[first : first + 10] for first in range(0, len(labels), 10)]
            return sheets.written(["   ".join(label.rjust(wide) for label in row) for row in rows])
        return sheets.written([f"{label.rjust(wide)}   {caption}" for label, caption in zip(labels, captions, strict=True)])

    def write(self, samples: Sequence[Any], folder: Path) -> list[Path]:
        """`0000.json` …: each a JSON value."""
        return [write_json(folder / f"{index:04d}.json", label) for index, label in enumerate(samples)]

    def read(self, path: Path) -> Any:
        try:
            label = json.loads(path.read_text())
        except (ValueError, OSError) as error:
            raise ValueError(f"{path} holds no label: expected a JSON number or text ({error})") from error
        if not isinstance(label, int | str):
            raise ValueError(f"{path} holds no label: expected a JSON number or text, given {type(label).__name__}")
        return label

    def identity(self, sample: Any) -> str:
        return json.dumps(sample)


class Joint(Modality, kind="joint"):
    """Samples that have a part of each of several modalities."""

    sample: ClassVar[str] = "a mapping: a sample of each part by name (None: a part that was not made)"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    data: JointData

    @property
    def parts(self) -> Mapping[str, Modality]:
        return self.data.parts

    def sample_axes(self) -> Axes:
        """Those of each part."""
        return {name: part.sample_axes() for name, part in self.parts.items()}

    def sheet(self, samples: Sequence[JointSample], captions: Sequence[str] = ()) -> bytes:
        """The parts' sheets, one under the other; labels are captions of the other parts.

        Where a sample is in several sheets, its number says which belong together: that of its folder (`write`).
        """
        labels = [name for name, part in self.parts.items() if isinstance(part, Label)]
        shown = [name for name in self.parts if name not in labels and any(sample.get(name) is not None for sample in samples)]
        told = captions or [""] * len(samples)
        if not shown:
            return _together([self.parts[name].sheet([sample.get(name) for sample in samples], told) for name in labels])
        lines = []
        for index, (sample, caption) in enumerate(zip(samples, told, strict=True)):
            known = [str(sample[name]) for name in labels if sample.get(name) is not None]
            lines.append(", ".join([*([f"{index:04d}"] if len(shown) > 1 else []), *([caption] if caption else []), *known]))
        drawn = []
        for name in shown:
            pairs = [(sample[name], line) for sample, line in zip(samples, lines, strict=True) if sample.get(name) is not None]
            drawn.append(self.parts[name].sheet([part for part, _ in pairs], [line for _, line in pairs] if any(lines) else ()))
        return _together(drawn)

    def write(self, samples: Sequence[JointSample], folder: Path) -> list[Path]:
        """A folder a sample, with the files of each part in a folder of its own, and `joint.json` that says which."""
        lists, files = [], []
        for index, sample in enumerate(samples):
            own, named = folder / f"{index:04d}", {}
            for name, part in self.parts.items():
                if sample.get(name) is None:
                    continue
                written = part.write([sample[name]], own / name)
                readable = [path for path in written if path.suffix in part.suffixes]
                named[name] = readable[0].relative_to(own).as_posix() if readable else None
                files += written
            lists.append(write_json(own / LIST, {"parts": named}))
        return lists + files

    def read(self, path: Path) -> JointSample:
        """A sample from its `joint.json`: `{"parts": {"name": "file"}}`, files beside it; parts that it leaves out are None."""
        try:
            named = json.loads(path.read_text())["parts"]
            unknown = set(named) - set(self.parts)
            for name, file in named.items():
                if not isinstance(file, str | None):
                    raise TypeError(f"the file of '{name}' is {json.dumps(file)}")
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise ValueError(f'{path} is no joint sample: expected JSON {{"parts": {{"name": "file"}}}} ({error})') from error
        if unknown:
            raise ValueError(f"{path} names the parts {sorted(unknown)}: this modality has {list(self.parts)}")
        return {name: part.read(path.parent / named[name]) if named.get(name) else None for name, part in self.parts.items()}

    def identity(self, sample: JointSample) -> str:
        return json.dumps({name: part.identity(sample[name]) for name, part in self.parts.items() if sample.get(name) is not None})


def _together(drawn: Sequence[bytes]) -> bytes:
    return drawn[0] if len(drawn) == 1 else sheets.stacked(drawn)
