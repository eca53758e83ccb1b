"""Frames that are given come back, whatever the tokenizer; the others are made anew."""

from functools import cache

import pytest
import torch
from pydantic import ValidationError

from anylatent.testing import EditorCase, EditorContract
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.grid import GridConfig
from anylatent_video.autoencoder_config import AutoencoderConfig
from anylatent_video.frames_editor import Frames
from anylatent_video.modality import Video
from anylatent_video.moving import Moving

AXES = Video(data=Moving()).sample_axes()


@cache
def _clips(frames: int = 9) -> tuple[torch.Tensor, ...]:
    dataset = Moving(count=8, frames=frames, size=8).build("train")
    return tuple(dataset[i].sample for i in range(3))


def _grid(frames: int = 9, time: int = 1) -> Tokenizer:
    tokenizer = GridConfig(patch=(time, 4, 4)).build(_clips(frames)[0], AXES)
    tokenizer.fit(_clips(frames))
    return tokenizer


def _autoencoder() -> Tokenizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = AutoencoderConfig(time=4, factor=4, width=8).build(_clips()[0], AXES).eval()
    tokenizer.fit(_clips())
    return tokenizer


WHOLE = "every frame of given clip 0 would be kept: nothing is left to make"


class TestFirstFrame(EditorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> EditorCase:
        refused = [
            (Frames(given=9), "9 given frames of a clip of 9 leave nothing to make"),
            (Frames(keep=(9,)), "there is no frame 9: the given clip has 9, 0 to 8"),
            (Frames(keep=tuple(range(9))), WHOLE),
        ]
        return EditorCase(Frames(), _grid(), _clips(), refused)


class TestInterpolation(EditorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> EditorCase:
        return EditorCase(Frames(task="interpolation", given=2), _grid(), _clips(), [(Frames(task="interpolation", given=5), WHOLE)])


class TestPredictionOfPairs(EditorContract):
    """Tokens of two frames."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> EditorCase:
        none = "no token of given clip 0 would be kept: a token covers 2 frames"
        return EditorCase(Frames(task="prediction"), _grid(8, 2), _clips(8), [(Frames(given=1), none), (Frames(keep=(1, 2)), none)])


class TestPredictionOfLatents(EditorContract):
    """By a causal autoencoder the latents of the first frames are what they are, whatever follows."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> EditorCase:
        refused = [(Frames(keep=(1, 2, 3)), "no token of given clip 0 would be kept: a token covers 4 frames, and 3 are given")]
        return EditorCase(Frames(task="prediction", given=5), _autoencoder(), _clips(), refused)


def _kept(editor: Frames, tokenizer: Tokenizer, frames: int = 9) -> list[bool]:
    """Whether each token time is kept."""
    (stream,) = editor.start(tokenizer, [_clips(frames)[0]], torch.tensor([0])).streams.values()
    times = stream.positions[0, :, 0]
    kept = [stream.keep[0][times == time] for time in times.unique()]
    assert all(keep.all() == keep.any() for keep in kept), "a time is kept whole or not at all"
    return [bool(keep.all()) for keep in kept]


@pytest.mark.parametrize(
    ("editor", "expected"),
    [
        (Frames(), "100000000"),
        (Frames(given=3), "111000000"),
        (Frames(task="prediction"), "111100000"),
        (Frames(task="interpolation"), "100000001"),
        (Frames(task="loop", given=2), "110000011"),
        (Frames(keep=(0, 4, -1)), "100010001"),
    ],
)
def test_tokens_of_given_frames_are_kept(editor: Frames, expected: str) -> None:
    assert _kept(editor, _grid()) == [letter == "1" for letter in expected]


def test_given_frames_are_rounded_up_to_whole_tokens_unless_counted() -> None:
    """Of 1 + 4 + 4 frames and of 2 + 2 + 2 + 2."""
    latents, pairs = _autoencoder(), _grid(8, 2)
    assert _kept(Frames(), latents) == [True, False, False]
    assert _kept(Frames(task="prediction"), latents) == [True, True, False]
    assert _kept(Frames(task="prediction", given=4), latents) == [True, False, False]
    assert _kept(Frames(task="interpolation"), latents) == [True, False, True]
    assert _kept(Frames(keep=(0, 1, 2, 3)), latents) == [True, False, False], "1 + 4 + 4 frames, not 3 + 3 + 3"
    assert _kept(Frames(), pairs, 8) == [True, False, False, False]
    assert _kept(Frames(keep=(0, 1, 2)), pairs, 8) == [True, False, False, False]


def test_nothing_that_is_to_be_made_leaks() -> None:
    """Two clips that differ in frames that are not given start alike, though the last latent's convolutions reach back to them."""
    one, other = _clips()[0].clone(), _clips()[0].clone()
    other[1:5] = -other[1:5]
    for tokenizer in (_autoencoder(), _grid()):
        editor = Frames(task="interpolation")
        first, second = (next(iter(editor.start(tokenizer, [x], torch.tensor([0])).streams.values())) for x in (one, other))
        assert torch.equal(first.values, second.values)


def test_a_loop_ends_where_it_begins() -> None:
    """The last frame is given as the first one; given samples are left as they were."""
    clip = _clips()[0]
    before, tokenizer = clip.clone(), _grid()
    state = Frames(task="loop").start(tokenizer, [clip], torch.tensor([0]))
    decoded = tokenizer.decode(state)[0]
    torch.testing.assert_close(decoded[-1], clip[0], atol=1e-5, rtol=0)
    finished = Frames(task="loop").finish([torch.zeros_like(clip)], [clip])[0]
    assert torch.equal(finished[0], clip[0])
    assert torch.equal(finished[-1], clip[0])
    assert not finished[1:-1].any()
    assert torch.equal(clip, before)


def test_asked_frames_come_back_bit_for_bit() -> None:
    """Though an autoencoder's latents cannot say them: they are put back, in turn for given clips, and nothing else is."""
    given = list(_clips())
    made = [torch.full_like(given[0], 0.5) for _ in range(5)]
    finished = Frames(task="interpolation", given=2).finish(made, given)
    for row, clip in enumerate(finished):
        source = given[row % 3]
        assert torch.equal(clip[:2], source[:2])
        assert torch.equal(clip[-2:], source[-2:])
        assert (clip[2:-2] == 0.5).all()
    assert all((clip == 0.5).all() for clip in made), "what was made is not changed in place"


def test_what_cannot_be_kept_is_said() -> None:
    clip = [_clips()[0]]
    seeds = torch.tensor([0])
    with pytest.raises(ValueError, match=r"there is no frame 12: the given clip has 9, 0 to 8"):
        Frames(keep=(0, 12)).start(_grid(), clip, seeds)
    with pytest.raises(ValueError, match="9 given frames of a clip of 9 leave nothing to make"):
        Frames(given=9).start(_grid(), clip, seeds)
    with pytest.raises(ValueError, match="every frame of given clip 0 would be kept: nothing is left to make"):
        Frames(keep=tuple(range(9))).start(_grid(), clip, seeds)
    with pytest.raises(ValueError, match="no token of given clip 0 would be kept: a token covers 2 frames, and 1 are given"):
        Frames(given=1).start(_grid(8, 2), [_clips(8)[0]], seeds)
    with pytest.raises(ValidationError, match="`keep` names the frames that are given: leave `given` out"):
        Frames(keep=(0,), given=1)
