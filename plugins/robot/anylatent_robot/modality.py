"""Robot actions: how chunks are read, shown and told apart."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from anylatent.files import write_bytes, write_text
from anylatent.modality import Modality
from anylatent_robot.chunk import Chunk
from anylatent_robot.sheet import draw_chunks

_SHOWN = 100


class Robot(Modality, kind="robot"):
    """Observations of a robot and the chunk of actions that follows them."""

    sample: ClassVar[str] = (
        "Chunk: observations (history, channels) and the actions (horizon, channels) that follow, float32 in the data's own units, "
        "at hz control steps a second"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    def sheet(self, samples: Sequence[Chunk], captions: Sequence[str] = ()) -> bytes:
        """A PNG with a plot for each chunk: its actions over time, a line a channel."""
        return draw_chunks(samples, captions)

    def write(self, samples: Sequence[Chunk], folder: Path) -> list[Path]:
        """`0000.json` … with all that a chunk holds, `actions.csv` with all actions in one table, and `sheet.png`."""
        digits = max(4, len(str(len(samples) - 1)))
        written = [write_text(folder / f"{i:0{digits}d}.json", _text(sample)) for i, sample in enumerate(samples)]
        table = write_text(folder / "actions.csv", _table(samples))
        return [*written, table, write_bytes(folder / "sheet.png", self.sheet(samples[:_SHOWN]))]

    def read(self, path: Path) -> Chunk:
        """A chunk from a JSON file like those that `write` makes. Errors: `ValueError` naming the file and what was expected."""
        import torch

        try:
            content = json.loads(path.read_text())
            observations, actions = (torch.tensor(content[name], dtype=torch.float32) for name in ("observations", "actions"))
            hz = float(content["hz"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no chunk of robot actions: expected JSON with `hz`, `observations` (steps x channels) and `actions` "
                f"(steps x channels); {type(error).__name__}: {error}"
            ) from error
        for name, values in (("observations", observations), ("actions", actions)):
            if values.dim() != 2 or not values.numel() or not values.isfinite().all():
                raise ValueError(f"{path}: `{name}` are to be finite numbers (steps x channels), given shape {tuple(values.shape)}")
        return Chunk(observations, actions, hz, str(content.get("task", "")), str(content.get("caption", "")))

    def identity(self, sample: Chunk) -> str:
        """A hash of the numbers, as they are in memory."""
        digest = hashlib.sha256(f"{tuple(sample.observations.shape)} {tuple(sample.actions.shape)} {sample.hz}".encode())
        for values in (sample.observations, sample.actions):
            digest.update(values.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def _text(sample: Chunk) -> str:
    content: dict[str, Any] = {"hz": sample.hz, "task": sample.task, "caption": sample.caption}
    content |= {"observations": sample.observations.tolist(), "actions": sample.actions.tolist()}
    return json.dumps(content, indent=1) + "\n"


def _table(samples: Sequence[Chunk]) -> str:
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["sample", "t_s", *(f"action_{channel}" for channel in range(max(s.actions.shape[1] for s in samples)))])
    for number, sample in enumerate(samples):
        for step, row in enumerate(sample.actions.tolist()):
            table.writerow([number, f"{step / sample.hz:.6g}", *(f"{x:.7g}" for x in row)])
    return stream.getvalue()
