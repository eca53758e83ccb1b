from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import Toy, WaveList, Waves

from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing import Listed, difference
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.grid import GridConfig
from anylatent.tokenizers.set import SetConfig
from anylatent.training.latents import Latents, encode

RAGGED = Waves(count=20, ragged=True).build("train")


def fitted(dataset: WaveList | Listed, patch: int = 2) -> Tokenizer:
    tokenizer = GridConfig(patch=(patch,)).build(dataset[0].sample, Toy.axes)
    tokenizer.fit([dataset[i].sample for i in range(len(dataset))])
    return tokenizer


def latents(dataset: Any, tokenizer: Tokenizer, cache: Path, chunk: int = 256) -> tuple[Latents, list[int]]:
    """The latents, and what was told on the way."""
    *told, made = encode(dataset, tokenizer, cache, chunk)
    assert isinstance(made, Latents)
    return made, told


def batch(made: Latents, indices: list[int]) -> State:
    return made.batch(torch.tensor(indices), torch.tensor(indices) + 100)


def test_a_batch_is_what_the_tokenizer_makes_of_its_samples(tmp_path: Path) -> None:
    """Ragged rows, in any order and more than once: values, positions and masks, padded to the longest of them."""
    tokenizer = fitted(RAGGED)
    made, told = latents(RAGGED, tokenizer, tmp_path)
    assert (len(made), told) == (20, [20])
    for indices in ([3], [7, 0, 19, 7], list(range(20))):
        state, expected = batch(made, indices), tokenizer.encode([RAGGED[i].sample for i in indices])
        assert state.seeds.tolist() == [100 + i for i in indices]
        for part in ("values", "positions", "mask", "time", "keep"):
            assert not (apart := difference(getattr(state["tokens"], part), getattr(expected["tokens"], part))), f"{part}: {apart}"


def test_two_streams_keep_their_own_lengths(tmp_path: Path) -> None:
    class Two(Tokenizer):
        """A wave as a sequence, and its peaks as a set."""

        @property
        def specs(self) -> tuple[StreamSpec, ...]:
            return StreamSpec(name="wave", width=1, axes=(AxisSpec(name="t", unit="s"),)), StreamSpec(name="a/peaks", width=2, order="set")

        def encode(self, samples: Any, seeds: Any = None) -> State:
            rows = []
            for sample in samples:
                peaks = sample[sample[:, 0] > 0.2].expand(-1, 2) if (sample > 0.2).any() else torch.zeros(1, 2)
                place = torch.arange(len(sample)).float()[:, None]
                rows.append(State.of({"wave": Stream.of(sample[None], place[None]), "a/peaks": Stream.of(peaks[None].contiguous())}))
            return State.cat(rows)

        def decode(self, state: State) -> list[Any]:
            raise AssertionError("not asked for")

        layout = decode  # pyright: ignore[reportAssignmentType]

    tokenizer = Two(SetConfig())
    made, _ = latents(RAGGED, tokenizer, tmp_path)
    again, told = latents(RAGGED, tokenizer, tmp_path)
    assert told == [], "found in the cache"
    for found in (made, again):
        state, expected = batch(found, [5, 2, 11]), tokenizer.encode([RAGGED[i].sample for i in (5, 2, 11)])
        for name in ("wave", "a/peaks"):
            assert torch.equal(state[name].values, expected[name].values)
            assert torch.equal(state[name].mask, expected[name].mask)


def test_what_is_found_is_what_was_made(tmp_path: Path) -> None:
    tokenizer = fitted(RAGGED)
    first, told = latents(RAGGED, tokenizer, tmp_path, chunk=7)
    found, nothing = latents(RAGGED, tokenizer, tmp_path)
    assert told == [7, 14, 20], "how many are done, on the way"
    assert nothing == []
    assert not difference(first, found)
    assert [path.name for path in (tmp_path / "latents").iterdir()] == [next((tmp_path / "latents").glob("*.safetensors")).name]


def test_chunks_change_nothing(tmp_path: Path) -> None:
    tokenizer = fitted(RAGGED)
    for chunk in (1, 3, 20):
        made, _ = latents(RAGGED, tokenizer, tmp_path / str(chunk), chunk)
        assert not difference(made, latents(RAGGED, tokenizer, tmp_path / "whole")[0], 1e-6)


class Watched(Tokenizer):
    """Counts the samples that it is asked to encode."""

    def __init__(self, inner: Tokenizer) -> None:
        super().__init__(inner.config)
        self.inner, self.encoded = inner, 0

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        return self.inner.specs

    def encode(self, samples: Any, seeds: Any = None) -> State:
        self.encoded += len(samples)
        return self.inner.encode(samples)

    def decode(self, state: State) -> list[Any]:
        return self.inner.decode(state)

    def layout(self, *arguments: Any) -> State:
        return self.inner.layout(*arguments)

    def fingerprint(self) -> str:
        return self.inner.fingerprint()


def changed() -> Iterator[tuple[str, Any, Tokenizer]]:
    """Everything that tokens depend on, each changed alone."""
    yield "another split", Waves(count=20, ragged=True).build("test"), fitted(RAGGED)
    yield "another data set", Waves(count=20, ragged=True, seed=1).build("train"), fitted(RAGGED)
    yield "another description", RAGGED, fitted(RAGGED, patch=4)
    statistics = fitted(RAGGED)
    statistics.state_dict()["statistics.mean"].add_(1e-4)
    yield "other statistics", RAGGED, statistics
    facts = fitted(RAGGED)
    facts.facts["more"] = 1
    yield "other facts", RAGGED, facts


@pytest.mark.parametrize(("what", "dataset", "tokenizer"), [pytest.param(*case, id=case[0]) for case in changed()])
def test_stale_latents_are_never_used(what: str, dataset: Any, tokenizer: Tokenizer, tmp_path: Path) -> None:
    latents(RAGGED, fitted(RAGGED), tmp_path)
    watched = Watched(tokenizer)
    latents(dataset, watched, tmp_path)
    assert watched.encoded == len(dataset)
    latents(dataset, watched, tmp_path)
    assert watched.encoded == len(dataset), "and now it is known too"


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"\x80\x04K\x01."], ids=["cut", "empty", "pickle"]
)
def test_a_damaged_cache_is_made_again(damage: Any, tmp_path: Path) -> None:
    tokenizer = fitted(RAGGED)
    whole, _ = latents(RAGGED, tokenizer, tmp_path)
    (file,) = (tmp_path / "latents").iterdir()
    content = file.read_bytes()
    file.write_bytes(damage(content))
    again, told = latents(RAGGED, tokenizer, tmp_path)
    assert told == [20]
    assert not difference(again, whole)
    assert file.read_bytes() == content


def test_a_sample_that_cannot_be_encoded_is_named(tmp_path: Path) -> None:
    samples = [RAGGED[i].sample for i in range(20)]
    tokenizer = fitted(RAGGED)
    samples[17] = torch.zeros(7, 1)
    with pytest.raises(ValueError, match=r"sample 17: expected finite float32 numbers \(t \(a multiple of 2\), 1 channels\)"):
        latents(Listed(samples), tokenizer, tmp_path)
    with pytest.raises(ValueError, match=r"of the records 15 to 19, sample 2: expected"):
        latents(Listed(samples), tokenizer, tmp_path, chunk=5)
    assert not list(tmp_path.rglob("*.safetensors")), "and nothing half made is kept"
