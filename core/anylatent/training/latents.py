"""The tokens of a training set, encoded once and kept by content."""

from collections.abc import Iterator
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
    """Tokens of many samples, without padding: flat `(all tokens, C)` tensors by stream, and where each sample begins."""

    flat: dict[str, dict[str, Tensor]]
    starts: dict[str, Int[Tensor, " samples_and_1"]]

    def __len__(self) -> int:
        return len(next(iter(self.starts.values()))) - 1

    def batch(self, indices: Int[Tensor, " rows"], seeds: Int[Tensor, " rows"]) -> State:
        """The clean state of these samples, padded to the longest of them."""
        return State.of({name: self._stream(name, indices) for name in self.flat}, seeds.cpu(), indices.cpu())

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
        latents = _from_tensors(read_tensors(path))
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
        latents = _pack(states)
        write_tensors(path, _to_tensors(latents))
    yield latents


def _pack(states: list[State]) -> Latents:
    flat, starts = {}, {}
    for name in states[0].streams:
        streams = [state[name] for state in states]
        flat[name] = {part: torch.cat([getattr(stream, part)[stream.mask] for stream in streams]) for part in _PARTS}
        sizes = torch.cat([stream.mask.sum(1) for stream in streams])
        starts[name] = torch.cat((sizes.new_zeros(1), sizes.cumsum(0)))
    return Latents(flat, starts)


def _to_tensors(latents: Latents) -> dict[str, Tensor]:
    flat = {f"{name}/{part}": x for name, parts in latents.flat.items() for part, x in parts.items()}
    return flat | {f"{name}/starts": x for name, x in latents.starts.items()}


def _from_tensors(tensors: dict[str, Tensor]) -> Latents:
    names = sorted({key.rsplit("/", 1)[0] for key in tensors})
    return Latents(
        {name: {part: tensors[f"{name}/{part}"] for part in _PARTS} for name in names}, {name: tensors[f"{name}/starts"] for name in names}
    )
