"""Samples of several parts: how they are read, shown and told apart."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from anylatent.files import write_json
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
        """The labels in a column, each with its caption."""
        from PIL import Image, ImageDraw

        lines = [f"{label}   {caption}".strip() for label, caption in zip(samples, [*captions, *[""] * len(samples)], strict=False)]
        drawing = ImageDraw.Draw(Image.new("L", (1, 1)))
        width = max(int(drawing.textlength(line)) for line in lines) + 16
        sheet = Image.new("RGB", (width, 16 * len(lines) + 16), "white")
        drawing = ImageDraw.Draw(sheet)
        for index, line in enumerate(lines):
            drawing.text((8, 8 + 16 * index), line, fill="black")
        return _png(sheet)

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
        """The parts' sheets, one under the other; labels are captions of the other parts."""
        told = [[caption] if caption else [] for caption in (captions or [""] * len(samples))]
        shown = {name: part for name, part in self.parts.items() if not isinstance(part, Label)}
        for name in (set(self.parts) - set(shown)) if shown else ():
            for lines, sample in zip(told, samples, strict=True):
                lines += [] if sample.get(name) is None else [str(sample[name])]
        sheets = []
        for name, part in (shown or self.parts).items():
            there = [(sample[name], ", ".join(lines)) for sample, lines in zip(samples, told, strict=True) if sample.get(name) is not None]
            if there:
                each, lines = zip(*there, strict=True)
                sheets.append(part.sheet(each, lines if any(lines) else ()))
        if not sheets and shown:
            return self._labels_alone(samples, captions)
        return sheets[0] if len(sheets) == 1 else _stacked(sheets)

    def _labels_alone(self, samples: Sequence[JointSample], captions: Sequence[str]) -> bytes:
        name = next(name for name, part in self.parts.items() if isinstance(part, Label))
        return self.parts[name].sheet([sample.get(name) for sample in samples], captions)

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
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ValueError(f'{path} is no joint sample: expected JSON {{"parts": {{"name": "file"}}}} ({error})') from error
        if unknown:
            raise ValueError(f"{path} names the parts {sorted(unknown)}: this modality has {list(self.parts)}")
        return {name: part.read(path.parent / named[name]) if named.get(name) else None for name, part in self.parts.items()}

    def identity(self, sample: JointSample) -> str:
        return json.dumps({name: part.identity(sample[name]) for name, part in self.parts.items() if sample.get(name) is not None})


def _stacked(sheets: Sequence[bytes]) -> bytes:
    from PIL import Image

    pictures = [Image.open(io.BytesIO(sheet)).convert("RGB") for sheet in sheets]
    whole = Image.new("RGB", (max(p.width for p in pictures), sum(p.height + 8 for p in pictures) - 8), "white")
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height + 8
    return _png(whole)


def _png(picture: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
