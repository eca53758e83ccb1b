from collections.abc import Sequence
from typing import Any

import pytest
import torch

from anylatent.editing.masked_completion import MaskedCompletion
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing import EditorCase, EditorContract, TokenizerCase
from anylatent.tokenizers.autoencoder import AutoencoderConfig
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.grid import GridConfig
from anylatent.tokenizers.set import SetConfig

Y, X = AxisSpec(name="y", unit="cm", step=2.0), AxisSpec(name="x", unit="px")


def arrays(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


FIELDS = arrays((8, 6, 1), (4, 6, 1), (8, 4, 1), (6, 6, 1))
CLOUDS = arrays((4, 3), (2, 3), (7, 3), (5, 3))
GRID = TokenizerCase(GridConfig(patch=(2, 2)), FIELDS, (Y, X)).fitted()
SET = TokenizerCase(SetConfig(centred=(0, 1)), CLOUDS).fitted()
LATENT = TokenizerCase(AutoencoderConfig(inner=GridConfig(patch=(2, 2)), width=16, heads=2, depth=1), FIELDS, (Y, X)).fitted()

CASES = {
    "half of a grid": EditorCase(
        MaskedCompletion(anew={"y": (0.5, 1.0)}), GRID, FIELDS,
        refused=[
            (MaskedCompletion(anew={"z": (0, 0.5)}), r"there is no axis \['z'\]: the tokens have \['x', 'y'\]"),
            (MaskedCompletion(), "nothing would be kept of the 12 tokens of given sample 0"),
            (MaskedCompletion(anew={"x": (0.1, 0.2)}), "everything would be kept of the 12 tokens of given sample 0"),
        ],
    ),
    "around a window": EditorCase(
        MaskedCompletion(anew={"y": (0, 0.6), "x": (0, 0.4)}, invert=True), GRID, FIELDS,
        refused=[(MaskedCompletion(anew={"y": (0, 1)}), "nothing would be kept of the 12 tokens of given sample 0")],
    ),
    "part of a set": EditorCase(
        MaskedCompletion(), SET, CLOUDS,
        refused=[
            (MaskedCompletion(tokens=(0, 1)), "nothing would be kept of the 4 tokens of given sample 0"),
            (MaskedCompletion(tokens=(0.45, 0.55)), "everything would be kept of the 4 tokens of given sample 0"),
            (MaskedCompletion(anew={"y": (0, 0.5)}), r"there is no axis \['y'\]: the tokens have none, use `tokens`"),
        ],
    ),
    "latents": EditorCase(
        MaskedCompletion(anew={"x": (0, 0.5)}), LATENT, FIELDS,
        refused=[(MaskedCompletion(anew={"x": (0, 1)}), "nothing would be kept of the 12 tokens of given sample 0")],
    ),
}  # fmt: skip


class TestMaskedCompletion(EditorContract):
    @pytest.fixture(scope="class", params=CASES.values(), ids=CASES)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> EditorCase:
        return request.param


def kept(editor: MaskedCompletion, tokenizer: Tokenizer, sample: torch.Tensor) -> torch.Tensor:
    (stream,) = editor.start(tokenizer, [sample], torch.tensor([0])).streams.values()
    return stream.keep[0]


def test_a_region_is_an_interval_of_each_named_axis() -> None:
    """As fractions from the first token to the last; a token inside all of them is made anew."""
    sample = torch.zeros(8, 6, 1)  # 4 x 3 patches, at fractions 0, 1/3, 2/3, 1 and 0, 1/2, 1
    keep = kept(MaskedCompletion(anew={"y": (0.3, 0.7), "x": (0.5, 1.0)}), GRID, sample).reshape(4, 3)
    assert (~keep).nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    inverted = kept(MaskedCompletion(anew={"y": (0.3, 0.7), "x": (0.5, 1.0)}, invert=True), GRID, sample).reshape(4, 3)
    assert torch.equal(inverted, ~keep)


def test_a_part_of_a_set_is_a_share_of_its_elements() -> None:
    assert kept(MaskedCompletion(tokens=(0.5, 1.0)), SET, torch.randn(6, 3)).tolist() == [True] * 3 + [False] * 3
    assert kept(MaskedCompletion(tokens=(0.0, 0.25)), SET, torch.randn(8, 3)).tolist() == [False] * 2 + [True] * 6


def test_a_row_is_kept_alike_beside_longer_ones() -> None:
    state = MaskedCompletion().start(SET, CLOUDS, torch.arange(4))
    for row, sample in enumerate(CLOUDS):
        assert state["elements"].keep[row, : len(sample)].tolist() == kept(MaskedCompletion(), SET, sample).tolist()


@pytest.mark.parametrize(
    ("editor", "tokenizer", "samples", "message"),
    [
        (MaskedCompletion(anew={"z": (0, 0.5)}), GRID, FIELDS, r"there is no axis \['z'\]: the tokens have \['x', 'y'\]"),
        (MaskedCompletion(anew={"y": (0, 0.5)}), SET, CLOUDS, r"there is no axis \['y'\]: the tokens have none, use `tokens`"),
        (MaskedCompletion(), GRID, FIELDS, r"nothing would be kept of the 12 tokens of given sample 0: choose another region"),
        (MaskedCompletion(tokens=(0.4, 0.6)), SET, CLOUDS[1:], r"everything would be kept of the 2 tokens of given sample 0"),
        (MaskedCompletion(tokens=(0.4, 0.6)), SET, [CLOUDS[2], CLOUDS[1]], r"everything would be kept of the 2 tokens of given sample 1"),
        (MaskedCompletion(), SET, [], r"no sample was given to edit"),
    ],
)
def test_what_would_edit_nothing_is_refused(editor, tokenizer, samples, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        editor.start(tokenizer, samples, torch.arange(4))


class Acting(Tokenizer):
    """An observation, that is always given, and actions on an axis of their own."""

    specs = (
        StreamSpec(name="seen", width=2, order="grid", axes=(X,), given=True),
        StreamSpec(name="acts", width=1, order="grid", axes=(Y,)),
    )

    def encode(self, samples: Sequence[Any], seeds: torch.Tensor | None = None) -> State:
        """Samples are pairs of `(observations, 2)` and `(actions, 1)`."""
        streams = {}
        for spec, parts in zip(self.specs, zip(*samples, strict=True), strict=True):
            longest = max(len(part) for part in parts)
            values = torch.stack([torch.nn.functional.pad(part, (0, 0, 0, longest - len(part))) for part in parts])
            mask = torch.stack([torch.arange(longest) < len(part) for part in parts])
            streams[spec.name] = Stream.of(values, torch.arange(float(longest)).expand(len(parts), -1)[..., None], mask)
        return State.of(streams, seeds)

    def decode(self, state: State) -> list[Any]:
        parts = [[row[mask] for row, mask in zip(state[spec.name].values, state[spec.name].mask, strict=True)] for spec in self.specs]
        return list(zip(*parts, strict=True))

    def layout(self, seeds: torch.Tensor, conditions: Any = None, size: int | None = None) -> State:
        return self.encode([(torch.zeros(2, 2), torch.zeros(size or 4, 1)) for _ in seeds], seeds)


EPISODES = list(zip(arrays((3, 2), (1, 2), (3, 2)), arrays((4, 1), (6, 1), (3, 1)), strict=True))


class TestMaskedCompletionBesideGivenStreams(EditorContract):
    @pytest.fixture(scope="class", params=[{}, {"invert": True}], ids=["anew", "inverted"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> EditorCase:
        whole = f"{'everything' if request.param else 'nothing'} would be kept of the 4 tokens of given sample 0"
        regions = {"y": ((0.0, 1.0), whole), "x": ((0.0, 0.5), whole), "z": ((0.0, 0.5), r"there is no axis \['z'\]")}
        refused = [(MaskedCompletion(anew={axis: region}, **request.param), says) for axis, (region, says) in regions.items()]
        return EditorCase(MaskedCompletion(anew={"y": (0.5, 1.0)}, **request.param), Acting(GridConfig()), EPISODES, refused=refused)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("anew", [{"y": (0.5, 1.0)}, {"y": (0.5, 1.0), "x": (0.0, 0.1)}])
def test_a_stream_that_is_always_given_is_kept_whole(anew: dict, invert: bool) -> None:
    """Whatever region of its own axis is named, and it does not count as something kept: some of the rest must be."""
    tokenizer = Acting(GridConfig())
    state = MaskedCompletion(anew=anew, invert=invert).start(tokenizer, EPISODES, torch.arange(3))
    assert torch.equal(state["seen"].keep, state["seen"].mask)
    kept = [row[mask].tolist() for row, mask in zip(state["acts"].keep, state["acts"].mask, strict=True)]
    first = [[True, True, False, False], [True, True, True, False, False, False], [True, False, False]]
    assert kept == [[value != invert for value in row] for row in first]
    for whole, what in (((0.0, 1.0), "everything" if invert else "nothing"),):
        with pytest.raises(ValueError, match=rf"{what} would be kept of the 4 tokens of given sample 0: choose another region"):
            MaskedCompletion(anew={"y": whole}, invert=invert).start(tokenizer, EPISODES, torch.arange(3))


@pytest.mark.parametrize("interval", [(0.5, 0.5), (0.8, 0.2), (-0.1, 0.5), (0.0, 1.5)])
def test_an_interval_must_increase_within_0_and_1(interval: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"interval \[.*\] of 'y' must increase within 0 and 1"):
        MaskedCompletion(anew={"y": interval})
    with pytest.raises(ValueError, match=r"interval \[.*\] of 'tokens' must increase within 0 and 1"):
        MaskedCompletion(tokens=interval)


# ------------------------------------------------------------------------------------------------- the contract finds faults


class Faulty(MaskedCompletion, kind="test-faulty"):
    fault: str

    def start(self, tokenizer: Tokenizer, given: list, seeds: torch.Tensor) -> State:
        if self.fault == "nothing_given_is_refused" and not given:
            given = [CLOUDS[0]]
        if self.fault == "what_makes_no_sense_is_refused":
            return MaskedCompletion().start(tokenizer, given, seeds)
        state = super().start(tokenizer, given, seeds)
        stream = state["elements"]
        match self.fault:
            case "it_starts_from_the_given_samples":
                state = state.with_values({"elements": stream.values + 1})
            case "kept_tokens_come_back_and_the_others_are_new":
                state = State.of(state.streams, torch.zeros_like(seeds))
            case "rows_are_alone_together":
                state = state.with_kept("elements", torch.arange(stream.shape[1]).expand(stream.mask.shape) * 2 < stream.shape[1])
            case "edited_samples_can_be_decoded":
                state = State.of({"elements": Stream.of(stream.values[..., :2], mask=stream.mask)}, seeds)
        return state


LAWS = sorted(name.removeprefix("test_") for name in vars(EditorContract) if name.startswith("test_"))


@pytest.mark.parametrize("law", LAWS)
def test_each_law_finds_an_editor_that_breaks_it(law: str) -> None:
    case = EditorCase(Faulty(fault=law), SET, CLOUDS, refused=[(Faulty(fault=law, tokens=(0, 1)), "would be kept")])
    at_start = ("it_starts_from_the_given_samples", "what_makes_no_sense_is_refused", "nothing_given_is_refused")
    arguments: dict = {} if law in at_start else {"denoiser": case.denoiser()}
    if law.startswith("kept_tokens"):
        arguments["noised"] = False
    with pytest.raises((AssertionError, RuntimeError, pytest.fail.Exception)):
        getattr(EditorContract(), f"test_{law}")(case, **arguments)
