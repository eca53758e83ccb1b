from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State
from anylatent.testing import TokenizerCase, TokenizerContract
from anylatent.tokenizers.autoencoder import AutoencoderConfig
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.grid import GridConfig
from anylatent.tokenizers.set import SetConfig
from anylatent.tokenizers.sizes import asked_sizes
from anylatent.tokenizers.statistics import Statistics

T, Y, X = AxisSpec(name="t", unit="s", step=0.1), AxisSpec(name="y", unit="cm", step=2.0), AxisSpec(name="x", unit="px")


def arrays(*shapes: tuple[int, ...], seed: int = 0) -> list[torch.Tensor]:
    """Random samples of these shapes, with a mean and a scale of their own."""
    generator = torch.Generator().manual_seed(seed)
    return [3 * torch.randn(*shape, generator=generator) + 2 for shape in shapes]


def shuffled(sample: torch.Tensor, order: list[int]) -> torch.Tensor:
    return sample[order]


GRIDS = {
    "one axis": TokenizerCase(
        GridConfig(patch=(4,)), arrays((8, 2), (12, 2), (8, 2), (20, 2)), axes=(T,), sizes={8: 2, 40: 10, (12,): 3},
        bad=[torch.zeros(9, 2), torch.zeros(8, 3), torch.zeros(8), torch.zeros(8, 2).double(), torch.full((8, 2), torch.nan), "text"],
    ),
    "two axes": TokenizerCase(
        GridConfig(patch=(2, 3), stream="cells"), arrays(*[(4, 6, 1)] * 5), axes=(Y, X), sizes={4: 4, 6: 6, (4, 12): 8, (None, 3): 2},
        bad=[torch.zeros(4, 7, 1), torch.zeros(0, 6, 1), torch.zeros(4, 6), torch.zeros(4, 6, 1).int()],
    ),
    "three axes": TokenizerCase(
        GridConfig(patch=(1, 2, 2)), arrays((2, 4, 4, 1), (3, 4, 4, 1), (1, 6, 4, 1), (2, 2, 4, 1)), axes=(T, Y, X),
        bad=[torch.zeros(2, 4, 3, 1), None],
    ),
}  # fmt: skip

SETS = {
    "plain": TokenizerCase(
        SetConfig(), arrays((3, 2), (5, 2), (1, 2), (4, 2)), permute=shuffled, sizes={1: 1, 7: 7},
        bad=[torch.zeros(0, 2), torch.zeros(3, 3), torch.zeros(3), torch.zeros(3, 2).long(), torch.full((2, 2), torch.inf), [[1.0, 2.0]]],
    ),
    "centred": TokenizerCase(
        SetConfig(centred=(0, 2)), [sample * torch.tensor([1, 0.5, 1]) for sample in arrays((3, 3), (5, 3), (2, 3), (4, 3))],
        permute=shuffled, sizes={2: 2}, bad=[torch.zeros(2, 2)],
    ),
}  # fmt: skip

SMALL = {"width": 16, "heads": 2, "depth": 1, "latent": 3}
AUTOENCODERS = {
    "over a grid": TokenizerCase(
        AutoencoderConfig(inner=GridConfig(patch=(4,)), **SMALL), arrays((8, 2), (12, 2), (8, 2), (20, 2)), axes=(T,), sizes={8: 2},
        bad=[torch.zeros(9, 2)], round_trip=None,
    ),
    "over a set": TokenizerCase(
        AutoencoderConfig(inner=SetConfig(centred=(0,)), **SMALL), arrays((3, 2), (5, 2), (2, 2), (4, 2)), permute=shuffled, sizes={6: 6},
        bad=[torch.zeros(0, 2)], round_trip=None,
    ),
}  # fmt: skip


class TestGrid(TokenizerContract):
    @pytest.fixture(scope="class", params=GRIDS.values(), ids=GRIDS)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> TokenizerCase:
        return request.param


class TestSet(TokenizerContract):
    @pytest.fixture(scope="class", params=SETS.values(), ids=SETS)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> TokenizerCase:
        return request.param


class TestAutoencoder(TokenizerContract):
    @pytest.fixture(scope="class", params=AUTOENCODERS.values(), ids=AUTOENCODERS)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> TokenizerCase:
        return request.param


# --------------------------------------------------------------------------------------------------- what grids and sets do


def test_patches_are_blocks_at_their_centres() -> None:
    sample = torch.arange(24.0).reshape(4, 6, 1)
    stream = GridConfig(patch=(2, 3)).build(sample, (Y, X)).encode([sample])["tokens"]
    assert stream.values[0, 1].tolist() == [3, 4, 5, 9, 10, 11], "the upper right block, row by row"
    # y: cells 0 and 1 of 2 cm each, so 1 cm; x: cells 3, 4, 5 of 1 px, so 4 px.
    assert stream.positions[0].tolist() == [[1, 1], [1, 4], [5, 1], [5, 4]]
    (spec,) = GridConfig(patch=(2, 3)).build(sample, (Y, X)).specs
    assert [axis.step for axis in spec.axes] == [4, 3], "neighbours are a patch apart"


def test_cells_that_never_change_stay_quiet() -> None:
    """One scale for all channels: a constant border is not blown up to unit variance."""
    samples = arrays(*[(4, 1)] * 50)
    samples = [torch.cat((sample[:3], torch.full((1, 1), -1.0) + 1e-4 * sample[3:])) for sample in samples]
    case = TokenizerCase(GridConfig(patch=(4,)), samples, axes=(X,))
    values = case.fitted().encode(samples)["tokens"].values[:, 0]
    assert values[:, 3].abs().max() < 1e-3
    assert values[:, :3].std() > 0.9


def test_data_that_never_change_keep_their_scale() -> None:
    samples = [torch.full((4, 1), 7.0)] * 4
    tokenizer = TokenizerCase(GridConfig(patch=(2,)), samples, axes=(X,)).fitted()
    assert not tokenizer.encode(samples)["tokens"].values.any()
    assert torch.equal(tokenizer.decode(tokenizer.encode(samples))[0], samples[0])


def test_sizes_are_drawn_as_often_as_they_were_seen() -> None:
    samples = arrays(*[(2, 1)] * 6, *[(5, 1)] * 3, (9, 1))
    for config, axes in ((SetConfig(), ()), (GridConfig(patch=(1,)), (X,))):
        tokenizer = TokenizerCase(config, samples, axes).fitted()
        (stream,) = tokenizer.layout(torch.arange(2000)).streams.values()
        sizes = stream.mask.sum(1)
        for size, share in ((2, 0.6), (5, 0.3), (9, 0.1)):
            assert (sizes == size).float().mean() == pytest.approx(share, abs=4 * (share * (1 - share) / 2000) ** 0.5)


def test_statistics_are_those_of_all_valid_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are looked at at once."""
    generator = torch.Generator().manual_seed(0)
    values = 1e3 + torch.randn(7, 5, 3, generator=generator) * torch.tensor([1.0, 5.0, 0.0])
    mask = torch.rand(7, 5, generator=generator) < 0.6
    valid = values[mask].double()
    whole, parts, one_scale = Statistics(3), Statistics(3), Statistics(3)
    whole.measure(values, mask)
    parts.measure_batches((values[i : i + 2], mask[i : i + 2]) for i in range(0, 7, 2))
    one_scale.measure_batches([(values, mask)], per_channel=False)
    for statistics in (whole, parts, one_scale):
        torch.testing.assert_close(statistics.mean, valid.mean(0).float())
    expected = valid.std(0, unbiased=False).float()
    expected[2] = 1  # a constant channel keeps its scale
    torch.testing.assert_close(whole.std, expected)
    torch.testing.assert_close(parts.std, expected)
    torch.testing.assert_close(one_scale.std, (valid - valid.mean(0)).square().mean().sqrt().float().expand(3))
    torch.testing.assert_close(whole.restore(whole.normalise(values)), values)

    samples = arrays(*[(n % 4 + 1, 2) for n in range(11)])
    for case in (TokenizerCase(SetConfig(), samples), TokenizerCase(AutoencoderConfig(inner=SetConfig(), **SMALL), samples)):
        plain = case.fitted().state_dict()
        monkeypatch.setattr("anylatent.tokenizers.arrays.CHUNK", 3)
        for name, tensor in case.fitted().state_dict().items():
            torch.testing.assert_close(tensor, plain[name])
        monkeypatch.undo()


def test_an_autoencoder_learns_to_reconstruct() -> None:
    """Its own loss, a few steps: the samples come back, and the latents come near the prior."""
    directions = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    samples = [sample @ directions for sample in arrays(*[(n % 3 + 2, 3) for n in range(32)])]  # 3 numbers in 4 channels
    case = TokenizerCase(AutoencoderConfig(inner=SetConfig(), width=32, heads=2, depth=1, latent=3, kl=1e-2), samples)
    tokenizer = case.fresh()
    tokenizer.prepare(samples)
    optimizer = torch.optim.Adam(tokenizer.parameters(), 3e-3)
    first = numbers = None
    for step in range(150):
        losses, numbers = tokenizer.loss(samples, torch.arange(32) + 100 * step)
        first = first or numbers
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
    tokenizer.fit(samples)
    assert first is not None
    assert numbers is not None
    assert numbers["reconstruction"] < 0.1 * first["reconstruction"]
    restored = tokenizer.decode(tokenizer.encode(samples))
    error = torch.cat(restored).sub(torch.cat(samples)).square().mean() / torch.cat(samples).var()
    assert error < 0.05
    assert numbers["kl"] < 10


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("config", "example", "axes", "message"),
    [
        (GridConfig(), torch.zeros(4, 1), (X,), r"patch \[2, 2\] has 2 numbers, the samples have 1 axes \(x\)"),
        (GridConfig(), torch.zeros(4, 4), (Y, X), r"cuts arrays \(\*axes, channels\) with 2 axes; given float32 of shape \(4, 4\)"),
        (GridConfig(patch=(2,)), torch.zeros(4, 1), (), r"the modality declares no axes, use 'set'"),
        (GridConfig(patch=(2,)), "a text", (X,), r"given a str"),
        (GridConfig(patch=(2,)), torch.zeros(5, 1), (X,), r"sample 0: .*x \(a multiple of 2\), 1 channels\), given .* shape \(5, 1\)"),
        (SetConfig(), torch.zeros(3), (), r"tokenizer 'set' takes tensors \(elements, channels\), given float32 of shape \(3,\)"),
        (SetConfig(centred=(2,)), torch.zeros(3, 2), (), r"centred \[2\] names channels that samples with 2 channels do not have"),
    ],
)
def test_samples_that_do_not_suit_are_refused(config, example: Any, axes: tuple[AxisSpec, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config.build(example, axes)


def test_numbers_that_are_not_finite_are_named() -> None:
    samples = arrays(*[(2, 2)] * 300)
    samples[290][1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"sample 290: expected finite float32 .* of shape \(2, 2\), 1 of its numbers not finite"):
        TokenizerCase(SetConfig(), samples).fitted()


def test_sizes_that_no_sample_has_are_refused() -> None:
    grid = GRIDS["one axis"].fitted()
    with pytest.raises(ValueError, match=r"size 6: expected a number of axis 't', a multiple of 4, given 6"):
        grid.layout(torch.arange(2), size=6)
    with pytest.raises(ValueError, match=r"size -1: expected a number of elements, 1 or more"):
        SETS["plain"].fitted().layout(torch.arange(2), size=-1)


def test_an_autoencoder_needs_one_stream_and_heads_that_share_its_width() -> None:
    class Two(Tokenizer):
        @property
        def specs(self) -> tuple[StreamSpec, ...]:
            return StreamSpec(name="a", width=1), StreamSpec(name="b", width=2)

        def encode(self, samples: Sequence[Any], seeds: torch.Tensor | None = None) -> State:
            raise AssertionError("refused before")

        decode = layout = encode  # pyright: ignore[reportAssignmentType]

    class TwoConfig(SetConfig, kind="test-two"):
        def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> Tokenizer:
            return Two(self)

    with pytest.raises(ValueError, match=r"'autoencoder' works on one stream; 'test-two' makes \['a', 'b'\]"):
        AutoencoderConfig(inner=TwoConfig()).build(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"width 20 cannot be shared by 3 heads of even width: choose a multiple of 6"):
        AutoencoderConfig(inner=SetConfig(), width=20, heads=3)


# ------------------------------------------------------------------------------------------------- the contract finds faults


def _broken() -> Mapping[str, type[Tokenizer]]:
    """A tokenizer a law, that breaks it and (nearly) no other."""
    from anylatent.tokenizers.set_tokenizer import SetTokenizer

    def changed(state: State, change) -> State:
        return state.with_values({"elements": change(state["elements"])})

    class Batchwise(SetTokenizer):
        def encode(self, samples, seeds=None):
            return changed(super().encode(samples, seeds), lambda s: (s.values - s.values.mean(0)) * s.mask[..., None])

    class Junk(SetTokenizer):
        def encode(self, samples, seeds=None):
            return changed(super().encode(samples, seeds), lambda s: s.values.masked_fill(~s.mask[..., None], 1.0))

    class Drifting(SetTokenizer):
        drift = 0.0

        def encode(self, samples, seeds=None):
            self.drift += 0.1
            return changed(super().encode(samples, seeds), lambda s: (s.values + self.drift) * s.mask[..., None])

    class Miscounting(SetTokenizer):
        def count(self, sample):
            return 3

    class Unscaled(SetTokenizer):
        def fit(self, samples):
            super().fit(samples)
            self.statistics.std.mul_(3)

    class Ordered(SetTokenizer):
        def encode(self, samples, seeds=None):
            return changed(super().encode(samples, seeds), lambda s: (s.values + torch.arange(s.shape[1])[:, None]) * s.mask[..., None])

    class Vague(SetTokenizer):
        def encode(self, samples, seeds=None):
            try:
                return super().encode(samples, seeds)
            except ValueError as error:
                raise ValueError("a sample is bad") from error

    class Lossy(SetTokenizer):
        def decode(self, state):
            return [1.1 * sample for sample in super().decode(state)]

    class Leaking(SetTokenizer):
        def decode(self, state):
            return super().decode(changed(state, lambda s: s.values - s.values.mean((0, 1))))

    class Full(SetTokenizer):
        def layout(self, seeds, conditions=None, size=None):
            return changed(super().layout(seeds, conditions, size), lambda s: s.values + 1)

    class Together(SetTokenizer):
        def layout(self, seeds, conditions=None, size=None):
            return super().layout(seeds + len(seeds), conditions, size)

    class Constant(SetTokenizer):
        def layout(self, seeds, conditions=None, size=None):
            return super().layout(seeds, conditions, size or 4)

    class Deaf(SetTokenizer):
        def layout(self, seeds, conditions=None, size=None):
            return super().layout(seeds, conditions, None)

    class Astray(SetTokenizer):
        @property
        def size_axes(self):
            return (X,)

    class Hasty(SetTokenizer):
        @property
        def local_axes(self):
            return (X,)

    class Forgetful(SetTokenizer):
        shift = 0.0

        def fit(self, samples):
            super().fit(samples)
            self.shift = 0.01

        def encode(self, samples, seeds=None):
            return changed(super().encode(samples, seeds), lambda s: (s.values + self.shift) * s.mask[..., None])

        def decode(self, state):
            return super().decode(changed(state, lambda s: s.values - self.shift))

    class Careless(SetTokenizer):
        def fingerprint(self):
            return self.config.key()

    class Summed(SetTokenizer):
        @property
        def trainable(self):
            return True

        def loss(self, samples, seeds):
            return super().encode(samples)["elements"].values.sum().expand(len(samples)), {}

    class Idle(SetTokenizer):
        def __init__(self, config, example):
            super().__init__(config, example)
            self.weight = torch.nn.Parameter(torch.zeros(1))

    return {
        "states_are_what_the_specs_say": Junk,
        "encoding_is_deterministic_and_leaves_samples_alone": Drifting,
        "rows_are_alone_together": Batchwise,
        "counts_are_the_tokens": Miscounting,
        "tokens_have_mean_0_and_scale_1": Unscaled,
        "a_permuted_sample_gives_permuted_tokens": Ordered,
        "bad_samples_are_named": Vague,
        "decoding_undoes_encoding": Lossy,
        "decoding_is_by_row": Leaking,
        "layouts_are_empty_states_to_generate_into": Full,
        "layouts_are_by_row_seed": Together,
        "layouts_are_as_large_as_samples": Constant,
        "layouts_have_the_size_that_is_asked_for": Deaf,
        "sizes_are_along_axes_that_tokens_have": Astray,
        "beginnings_decode_by_themselves": Hasty,
        "saved_is_loaded": Forgetful,
        "the_fingerprint_is_of_everything": Careless,
        "the_loss_is_by_row": Summed,
        "gradients_reach_every_weight": Idle,
    }


class Broken(SetConfig, kind="test-broken"):
    law: str = ""

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> Tokenizer:
        return _broken()[self.law](self, example)  # pyright: ignore[reportCallIssue]


LAWS = sorted(name.removeprefix("test_") for name in vars(TokenizerContract) if name.startswith("test_"))


@pytest.mark.parametrize("law", LAWS)
def test_each_law_finds_a_tokenizer_that_breaks_it(law: str, tmp_path) -> None:
    case = replace(SETS["plain"], config=Broken(law=law))
    contract, tokenizer = TokenizerContract(), case.fitted()
    arguments = (tmp_path,) if law == "saved_is_loaded" else ()
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(contract, f"test_{law}")(case, tokenizer, *arguments)


def test_another_revision_of_a_tokenizers_code_has_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = GridConfig(patch=(2, 2)).build(torch.zeros(4, 4, 1), (Y, X))
    before = tokenizer.fingerprint()
    monkeypatch.setattr(type(tokenizer), "revision", 2)
    assert tokenizer.fingerprint() != before


@pytest.mark.parametrize("size", [2.5, True, "24x64"])
def test_a_size_that_is_no_number_is_refused(size: Any) -> None:
    with pytest.raises(ValueError, match=rf"size {size}: expected a number of elements, 1 or more, given "):
        asked_sizes(size, ())
