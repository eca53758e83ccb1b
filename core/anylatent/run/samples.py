"""Made samples, and how they are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anylatent import files
from anylatent.generation import RowGenerator, Settled
from anylatent.modality import Modality
from anylatent.state import Receipt, State
from anylatent.tokenizers.base import Tokenizer


@dataclass(frozen=True, repr=False)
class Samples:
    """Made samples, what each was asked to be, its row's seed, what each method did, and what can make more of them."""

    samples: list[Any]
    asked: list[dict[str, Any]]
    seeds: list[int]
    state: State
    receipts: dict[str, Receipt]
    seconds: float
    generator: RowGenerator

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]

    def __repr__(self) -> str:
        """In one line: the samples themselves would fill the screen."""
        did = ", ".join(self.receipts)
        return f"Samples({len(self)} of seeds {self.seeds[0]} to {self.seeds[-1]}, made in {self.seconds:.1f} s; receipts: {did})"

    def save(self, modality: Modality, folder: Path) -> list[Path]:
        """Write them as files that people open, with a sheet, `samples.json` (seeds, conditions) and `receipts.json`."""
        with files.whole_folder(folder) as part:
            modality.write(self.samples, part)
            files.write_bytes(part / "sheet.png", modality.sheet(self.samples[:100], captions(self.asked[:100])))
            files.write_json(part / "samples.json", [{"seed": s, "asked": a} for s, a in zip(self.seeds, self.asked, strict=True)])
            receipts = {name: {"counts": r.counts, "rows": r.rows, "note": r.note} for name, r in self.receipts.items()}
            files.write_json(part / "receipts.json", receipts | {"seconds": self.seconds})
        return sorted(folder.iterdir())


class Beginnings:
    """Rows of a start state, decoded as far as they are settled, by a tokenizer that can: each time that this reaches further."""

    def __init__(self, tokenizer: Tokenizer, state: State) -> None:
        self.tokenizer, self.state, self.reached = tokenizer, state, [0] * len(state)

    def decoded(self, settled: Settled) -> Settled:
        """With the beginning of the sample, if there is more of it than before."""
        whole = self.state.select([settled.row]).trimmed().to(settled.state.device)
        beginning = self.tokenizer.beginning(settled.state, whole)
        tokens = 0 if beginning is None else sum(stream.shape[1] for stream in beginning.streams.values())
        if beginning is None or tokens <= self.reached[settled.row]:
            return settled
        self.reached[settled.row] = tokens
        return replace(settled, sample=self.tokenizer.decode(beginning)[0])


def captions(asked: Sequence[Mapping[str, Any]]) -> list[str]:
    """A short line a sample: what it was asked to be."""

    def text(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return [", ".join(text(value) if len(row) == 1 else f"{name} {text(value)}" for name, value in row.items()) for row in asked]
