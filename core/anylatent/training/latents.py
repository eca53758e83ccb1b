"""The tokens of a training set, encoded once and kept by content."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from anylatent.data import Dataset
from anylatent.files import DamagedFile, digest_of, read_tensors, write_tensors
from anylatent.state import State, Stream
from anylatent.tokenizers.base import Tokenizer
from anylatent.types import Int, Tensor

_PARTS = ("values", "positions")


@dataclass(frozen=True)
class Latents:
    """Tokens of many samples, without padding: flat `(all tokens, C)` tensors by stream, and where each sample begins.

    `first`: the row id of sample 0; the others follow. Of made samples it is the seed of the first of them.
    """

    flat: dict[str, dict[str, Tensor]]
    starts: dict[str, Int[Tensor, " samples_and_1"]]
    first: int = 0

    @staticmethod
    def of(states: Sequence[State]) -> "Latents":
        """The valid tokens of these clean states, one after the other."""
        flat, starts = {}, {}
        for name in states[0].streams:
            streams = [state[name] for state in states]
            flat[name] = {part: torch.cat([getattr(stream, part)[stream.mask] for stream in streams]) for part in _PARTS}
            sizes = torch.cat([stream.mask.sum(1) for stream in streams])
            starts[name] = torch.cat((sizes.new_zeros(1), sizes.cumsum(0)))
        return Latents(flat, starts)

    @staticmethod
    def read(path: Path, first: int = 0) -> "Latents":
        """Those of a file. Errors: `FileNotFoundError`; `DamagedFile`."""
        tensors = read_tensors(path)
        names = sorted({key.rsplit("/", 1)[0] for key in tensors})
        flat = {name: {part: tensors[f"{name}/{part}"] for part in _PARTS} for name in names}
        return Latents(flat, {name: tensors[f"{name}/starts"] for name in names}, first)

    def write(self, path: Path) -> None:
        """Write them whole, as safetensors."""
        flat = {f"{name}/{part}": x for name, parts in self.flat.items() for part, x in parts.items()}
        write_tensors(path, flat | {f"{name}/starts": x for name, x in self.starts.items()})

    def __len__(self) -> int:
        return len(next(iter(self.starts.values()))) - 1

    def batch(self, indices: Int[Tensor, " rows"], seeds: Int[Tensor, " rows"]) -> State:
        """The clean state of these samples, padded to the longest of them."""
        return State.of({name: self._stream(name, indices) for name in self.flat}, seeds.cpu(), indices.cpu() + self.first)

    def _stream(self, name: str, indices: Int[Tensor, " rows"]) -> Stream:
        starts = self.starts[name]
        first, sizes = starts[indices], starts[indices + 1] - starts[indices]
        offsets = torch.arange(int(sizes.max()))
        mask = offsets[None] < sizes[:, None]
        places = torch.where(mask, first[:, None] + offsets[None], first[:, None])
        values, positions = (self.flat[name][part][places] * mask[..., None] for part in _PARTS)
        return Stream.of(values, positions, mask)


def encode(dataset: Dataset, tokenizer: Tokenizer, cache: Path, chunk: int = 256) -> Iterator[int | Latents]:
    """Encode a data set, or find it in the cache; yields how many samples are done, and last the latents.

    The key is content x tokenizer fingerprint (which holds weights, statistics and preprocessing): changing any of them
    cannot reuse stale latents. A damaged cache file is made again.
    """
    path = cache / "latents" / f"{digest_of('1', dataset.fingerprint(), tokenizer.fingerprint())}.safetensors"
    try:
        latents = Latents.read(path)
    except (FileNotFoundError, DamagedFile):
        states = []
        tokenizer.eval()
        for start in range(0, len(dataset), chunk):
            samples = [dataset[i].sample for i in range(start, min(start + chunk, len(dataset)))]
            try:
                states.append(tokenizer.encode(samples).to("cpu"))
            except ValueError as error:
                raise ValueError(f"of the records {start} to {start + len(samples) - 1}, {error}") from error
            yield start + len(samples)
        latents = Latents.of(states)
        latents.write(path)
    yield latents
