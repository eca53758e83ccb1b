"""What every tokenizer must hold to."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from anylatent.files import read_tensors, write_tensors
from anylatent.spec import AxisSpec
from anylatent.state import State
from anylatent.testing.backbones import shaken
from anylatent.testing.comparing import difference
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.config import TokenizerConfig

TOGETHER = 1e-4
"""How far a row's float32 values may be from what they are alone."""


@dataclass
class TokenizerCase:
    """A tokenizer's description, and samples to fit it to: four or more, all different, of several sizes if the modality is ragged."""

    config: TokenizerConfig
    samples: Sequence[Any]
    axes: tuple[AxisSpec, ...] = ()
    """The modality's axes."""
    bad: Sequence[Any] = ()
    """Values that are no samples: each must be refused."""
    permute: Callable[[Any, list[int]], Any] | None = None
    """For streams of order `set`: a sample with its elements in another order."""
    sizes: Mapping[int | tuple[int | None, ...], int] = field(default_factory=dict)
    """What `layout` may be asked for, and how many tokens a row then has."""
    round_trip: float | None = 1e-4
    """How far decoded samples, encoded again, may be from the tokens; None: decoding loses more (say why)."""
    unnormalised: str = ""
    """Why the tokens have another mean or scale than 0 and 1, if they do."""

    def fitted(self) -> Tokenizer:
        """The tokenizer, built anew and fitted to the samples, with the same weights each time."""
        tokenizer = self.fresh()
        tokenizer.prepare(self.samples)
        tokenizer.fit(self.samples)
        return tokenizer

    def fresh(self) -> Tokenizer:
        """The tokenizer as it is built: neither prepared nor fitted."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.config.build(self.samples[0], self.axes).eval()


class TokenizerContract:
    """Subclass it and give one fixture:

    class TestMine(TokenizerContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            samples = [torch.randn(n, 3) for n in (2, 5, 3, 7)]
            return TokenizerCase(MyConfig(), samples, bad=[torch.zeros(3)], permute=lambda sample, order: sample[order])
    """

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        raise NotImplementedError("give the fixture `case`")

    @pytest.fixture(scope="class")
    @classmethod
    def tokenizer(cls, case: TokenizerCase) -> Tokenizer:
        assert len(case.samples) >= 4, "give four samples or more"
        return case.fitted()

    def _encoded(self, case: TokenizerCase, tokenizer: Tokenizer) -> State:
        state = tokenizer.encode(list(case.samples))
        return State.of(state.streams, range(100, 100 + len(case.samples)))

    # --- states -----------------------------------------------------------------------------------------------

    def test_states_are_what_the_specs_say(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """Names, widths, axes, kinds; clean, nothing kept, no gradients; padding is zero and every row has tokens."""
        state = tokenizer.encode(list(case.samples))
        assert set(state.streams) == {spec.name for spec in tokenizer.specs}
        assert len(state) == len(case.samples)
        for spec in tokenizer.specs:
            stream = state[spec.name]
            rows, tokens, width = stream.shape
            assert width == spec.width, f"stream '{spec.name}' has {width} channels, its spec says {spec.width}"
            assert stream.values.dtype == stream.positions.dtype == torch.float32
            assert stream.positions.shape == (rows, tokens, len(spec.axes))
            assert not stream.values.requires_grad, "encode works without gradients"
            assert not stream.time.any(), "encoded tokens are clean: time 0"
            assert not stream.keep.any(), "encode keeps nothing"
            assert stream.mask.any(1).all(), "a sample became no token"
            assert stream.values.isfinite().all()
            assert not stream.values[~stream.mask].any(), "padding is 0"
            if spec.kind == "categorical":
                torch.testing.assert_close(stream.values.sum(-1), stream.mask.float())
            if spec.prior == "normal_centred":
                middle = (stream.values * stream.mask[..., None]).sum(1)[:, list(spec.centred) or slice(None)]
                assert middle.abs().max() < 1e-3, "a centred stream's tokens have mean 0 in each row"

    def test_encoding_is_deterministic_and_leaves_samples_alone(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        before = copy.deepcopy(list(case.samples))
        once, again = tokenizer.encode(list(case.samples)), tokenizer.encode(list(case.samples))
        assert not _apart(once, again, 0.0)
        assert not difference(list(case.samples), before), "encode changed its samples"

    def test_rows_are_alone_together(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """A sample's tokens, with their places, do not depend on the others; nor, with seeds, does what is drawn for it."""
        seeds = torch.arange(len(case.samples)) + 7
        for given in (None, seeds):
            together = tokenizer.encode(list(case.samples), given)
            for row, sample in enumerate(case.samples):
                alone = tokenizer.encode([sample], None if given is None else given[row : row + 1])
                apart = _apart(alone.trimmed(), together.select([row]).trimmed(), TOGETHER)
                assert not apart, f"sample {row} is encoded otherwise alone: {apart}"

    def test_counts_are_the_tokens(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        assert [tokenizer.count(sample) for sample in case.samples] == _tokens(tokenizer.encode(list(case.samples)))

    def test_tokens_have_mean_0_and_scale_1(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """Over the samples that it was fitted to: each channel's mean, and the scale of all together."""
        if case.unnormalised:
            pytest.skip(case.unnormalised)
        state = tokenizer.encode(list(case.samples))
        for spec in tokenizer.specs:
            values = state[spec.name].values[state[spec.name].mask]
            assert values.mean(0).abs().max() < 0.05, f"stream '{spec.name}': channel means {values.mean(0).tolist()}"
            assert 0.9 < values.square().mean().sqrt() < 1.1, f"stream '{spec.name}' has scale {values.square().mean().sqrt():.3f}"

    def test_a_permuted_sample_gives_permuted_tokens(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        sets = [spec.name for spec in tokenizer.specs if spec.order == "set"]
        if not sets:
            pytest.skip("no stream is a set")
        assert case.permute is not None, "a stream is of order 'set': give `permute`"
        for sample in case.samples:
            plain = tokenizer.encode([sample])
            order = torch.randperm(plain[sets[0]].shape[1], generator=torch.Generator().manual_seed(1)).tolist()
            other = tokenizer.encode([case.permute(sample, order)])
            for name in sets:
                torch.testing.assert_close(other[name].values, plain[name].values[:, order], atol=TOGETHER, rtol=0)

    def test_bad_samples_are_named(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        assert case.bad, "give `bad`: values that are no samples"
        for value in case.bad:
            with pytest.raises(ValueError, match=r"sample 1\b"):
                tokenizer.encode([case.samples[0], value])

    # --- and back ---------------------------------------------------------------------------------------------

    def test_decoding_undoes_encoding(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """What is decoded encodes to the same tokens, and then decodes to the same samples."""
        if case.round_trip is None:
            pytest.skip("decoding loses more than a tolerance can say")
        state = self._encoded(case, tokenizer)
        decoded = tokenizer.decode(state)
        apart = _apart(tokenizer.encode(decoded), state, case.round_trip)
        assert not apart, apart
        assert not (apart := difference(tokenizer.decode(tokenizer.encode(decoded)), decoded, case.round_trip)), apart

    def test_decoding_is_by_row(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """A row's sample is the same alone, in another order, with more padding, and whatever lies in the padding."""
        state = self._encoded(case, tokenizer)
        samples = tokenizer.decode(state)
        assert len(samples) == len(state)
        backwards = list(range(len(state)))[::-1]
        padded = state.map(lambda stream: stream.padded(stream.shape[1] + 3))
        junk = padded.map(lambda stream: replace(stream, values=stream.values.masked_fill(~stream.mask[..., None], 7)))
        others = {
            "a second time": samples_of(tokenizer, state),
            "in another order": samples_of(tokenizer, state.select(backwards))[::-1],
            "alone": [tokenizer.decode(state.select([row]).trimmed())[0] for row in backwards[::-1]],
            "with more padding": samples_of(tokenizer, junk),
        }
        for how, made in others.items():
            assert not (apart := difference(made, samples, TOGETHER)), f"decoded otherwise {how}: {apart}"

    # --- layout -----------------------------------------------------------------------------------------------

    def test_layouts_are_empty_states_to_generate_into(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """Of the specs' streams, with the rows' seeds, given streams kept; as they are, they can be decoded."""
        seeds = torch.tensor([3, 1, 4, 1])
        state = tokenizer.layout(seeds)
        assert state.seeds.tolist() == seeds.tolist()
        for spec in tokenizer.specs:
            stream = state[spec.name]
            assert stream.shape[0] == 4
            assert stream.shape[2] == spec.width
            assert stream.positions.shape[2] == len(spec.axes)
            assert torch.equal(stream.keep, stream.mask) if spec.given else not stream.values.any()
            assert stream.mask.any(1).all()
        if all(spec.kind == "continuous" for spec in tokenizer.specs):
            assert len(tokenizer.decode(state)) == 4

    def test_layouts_are_by_row_seed(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        seeds = torch.arange(20)
        together = tokenizer.layout(seeds)
        for row in (0, 7, 19):
            assert not (apart := _apart(tokenizer.layout(seeds[row : row + 1]), together.select([row]).trimmed(), 0.0)), apart
        backwards = tokenizer.layout(seeds.flip(0))
        assert _tokens(backwards) == _tokens(together)[::-1]

    def test_layouts_are_as_large_as_samples(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """Within the sizes that it was fitted to, and not all alike if those are not."""
        seen = _tokens(tokenizer.encode(list(case.samples)))
        drawn = _tokens(tokenizer.layout(torch.arange(60)))
        assert min(seen) <= min(drawn)
        assert max(drawn) <= max(seen)
        assert (len(set(drawn)) > 1) == (len(set(seen)) > 1)

    def test_layouts_have_the_size_that_is_asked_for(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        for size, tokens in case.sizes.items():
            state = tokenizer.layout(torch.arange(5), size=size)
            assert set(_tokens(state)) == {tokens}
            if all(spec.kind == "continuous" for spec in tokenizer.specs):
                assert len(tokenizer.decode(state)) == 5
        if any(spec.kind == "continuous" for spec in tokenizer.specs):
            for size in (0, (1,) * (len(tokenizer.size_axes) + 2)):
                with pytest.raises(ValueError, match="size"):
                    tokenizer.layout(torch.arange(5), size=size)

    def test_sizes_are_along_axes_that_tokens_have(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """What is asked of none of them is as drawn."""
        known = {(axis.name, axis.unit) for spec in tokenizer.specs for axis in spec.axes}
        assert {(axis.name, axis.unit) for axis in tokenizer.size_axes} <= known
        drawn, seeds = (None,) * len(tokenizer.size_axes), torch.arange(9)
        assert not (apart := _apart(tokenizer.layout(seeds, size=drawn), tokenizer.layout(seeds), 0.0)), apart

    def test_beginnings_decode_by_themselves(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """Half of a row's tokens along each of `local_axes`: what they decode to is what the whole sample begins with."""
        sizes = {(axis.name, axis.unit) for axis in tokenizer.size_axes}
        assert {(axis.name, axis.unit) for axis in tokenizer.local_axes} <= sizes
        whole = tokenizer.encode([max(case.samples, key=tokenizer.count)])
        nothing = whole.map(lambda stream: replace(stream, mask=torch.zeros_like(stream.mask)))
        assert tokenizer.beginning(nothing, whole) is None
        (sample,) = tokenizer.decode(whole)
        for axis in tokenizer.local_axes:
            index = {spec.name: i for spec in tokenizer.specs for i, own in enumerate(spec.axes) if own.name == axis.name}
            made_ones = {name: i for name, i in index.items() if not _given(tokenizer, name)}
            places = torch.cat([whole[name].positions[..., i].flatten() for name, i in made_ones.items()]).unique()
            middle = float(places[len(places) // 2])
            masks = {name: whole[name].positions[..., i] < middle for name, i in index.items()}
            some = replace(whole, streams={name: replace(x, mask=masks.get(name, x.mask)) for name, x in whole.streams.items()})
            beginning = tokenizer.beginning(some, whole)
            if len(places) == 1:
                assert beginning is None
                continue
            assert beginning is not None
            assert _tokens(beginning)[0] == sum(int(stream.mask.sum()) for stream in some.streams.values())
            (made,) = tokenizer.decode(beginning)
            assert not (apart := difference(made, _start(sample, made), TOGETHER)), apart
            assert difference(made, sample, TOGETHER), "it is all of the sample"

    # --- identity ---------------------------------------------------------------------------------------------

    def test_saved_is_loaded(self, case: TokenizerCase, tokenizer: Tokenizer, tmp_path: Path) -> None:
        """Facts through JSON and weights through safetensors make the same tokenizer of a new one, bit for bit."""
        write_tensors(tmp_path / "weights.safetensors", tokenizer.state_dict())
        loaded = case.fresh()
        loaded.restore(json.loads(json.dumps(tokenizer.facts)))
        loaded.load_state_dict(read_tensors(tmp_path / "weights.safetensors"))
        loaded.eval()
        assert loaded.fingerprint() == tokenizer.fingerprint()
        assert loaded.specs == tokenizer.specs
        state = self._encoded(case, tokenizer)
        assert not (apart := _apart(self._encoded(case, loaded), state, 0.0)), apart
        assert not (apart := difference(loaded.decode(state), tokenizer.decode(state))), apart
        assert not (apart := _apart(loaded.layout(torch.arange(9)), tokenizer.layout(torch.arange(9)), 0.0)), apart

    def test_the_fingerprint_is_of_everything(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """Equal when made again; another as soon as any tensor, any fact or any field of the description is."""
        fingerprint = tokenizer.fingerprint()
        assert case.fitted().fingerprint() == fingerprint, "built and fitted again, it is another"
        for name, tensor in tokenizer.state_dict().items():
            if tensor.numel():
                other = copy.deepcopy(tokenizer)
                changed = other.state_dict()[name].view(-1)
                changed[-1] = ~changed[-1] if changed.dtype == torch.bool else changed[-1] + 1
                assert other.fingerprint() != fingerprint, f"'{name}' is not part of it"
        other = copy.deepcopy(tokenizer)
        other.facts["one more"] = 1
        assert other.fingerprint() != fingerprint, "facts are not part of it"
        other = copy.deepcopy(tokenizer)
        changed_fields: dict[str, Any] = dict.fromkeys(type(other.config).model_fields, "another")
        other.config = other.config.model_construct(**changed_fields)
        assert not type(other.config).model_fields or other.fingerprint() != fingerprint, "the description is not part of it"

    # --- training ---------------------------------------------------------------------------------------------

    def test_the_loss_is_by_row(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """One number a row, of the row's sample and seed alone."""
        if not tokenizer.trainable:
            pytest.skip("nothing to train")
        seeds = torch.arange(len(case.samples)) + 11
        with torch.no_grad():
            together, numbers = tokenizer.loss(list(case.samples), seeds)
            again, _ = tokenizer.loss(list(case.samples), seeds)
            alone = torch.cat([tokenizer.loss([sample], seeds[i : i + 1])[0] for i, sample in enumerate(case.samples)])
        assert together.shape == (len(case.samples),)
        assert torch.equal(together, again)
        torch.testing.assert_close(alone, together, atol=TOGETHER, rtol=1e-3)
        assert all(x.numel() == 1 and bool(x.isfinite()) for x in numbers.values())

    def test_gradients_reach_every_weight(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        weights = {name for name, p in tokenizer.named_parameters() if p.requires_grad}
        if not tokenizer.trainable:
            assert not weights, f"it is not trainable, but has weights: {sorted(weights)}"
            return
        student = copy.deepcopy(tokenizer)
        shaken(student, size=0.02)
        student.train()
        student.loss(list(case.samples), torch.arange(len(case.samples)))[0].mean().backward()
        unreached = [name for name, p in student.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
        assert not unreached, f"the loss does not reach {unreached}"


def samples_of(tokenizer: Tokenizer, state: State) -> list[Any]:
    """The decoded samples, each on its own: not views of one batch."""
    return copy.deepcopy(tokenizer.decode(state))


def _given(tokenizer: Tokenizer, name: str) -> bool:
    return next(spec for spec in tokenizer.specs if spec.name == name).given


def _start(whole: Any, like: Any) -> Any:
    """As much of a sample's arrays, from their beginnings, as another has."""
    if isinstance(whole, torch.Tensor):
        return whole[tuple(slice(size) for size in like.shape)]
    arrays = {name: value for name, value in vars(whole).items() if isinstance(value, torch.Tensor)}
    return replace(whole, **{name: _start(value, getattr(like, name)) for name, value in arrays.items()})


def _tokens(state: State) -> list[int]:
    """Valid tokens of each row, over all streams."""
    return torch.stack([stream.mask.sum(1) for stream in state.streams.values()]).sum(0).tolist()


def _apart(a: State, b: State, tolerance: float) -> str:
    """Where two states differ: masks and positions exactly, values by more than `tolerance`."""
    for name, stream in a.streams.items():
        other = b.streams[name]
        for part in ("mask", "positions", "values"):
            apart = difference(getattr(stream, part), getattr(other, part), tolerance if part == "values" else 0.0, f"{part} of '{name}'")
            if apart:
                return apart
    return ""
