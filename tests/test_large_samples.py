"""Samples larger than those of training, on every modality whose samples have an axis: asked for, made in windows, decoded."""

import pytest
import torch
from every_method import RECIPES, case_of

from anylatent.engine import receipts
from anylatent.generation import RowGenerator, gathered
from anylatent.guidance.windows import Window, Windows
from anylatent.paths import Rectified
from anylatent.sampling import Sampling
from anylatent.state import Stream

AXES = {"audio": "t", "image": "x", "joint": "x", "robot": "t", "video": "t"}
"""What is made longer, of those that have anything to make longer."""


def _reach(stream: Stream, column: int) -> torch.Tensor:
    """From the first token's middle to the last one's, by row."""
    along = stream.positions[..., column]
    return along.masked_fill(~stream.mask, -torch.inf).amax(1) - along.masked_fill(~stream.mask, torch.inf).amin(1)


@pytest.mark.parametrize("modality", AXES)
def test_samples_are_as_long_as_asked_and_made_in_windows(modality: str) -> None:
    """Rows alone are as in their batch; a window sees as much as training did."""
    case, name, seeds = case_of(modality), AXES[modality], torch.tensor([5, 6])
    tokenizer = case.tokenizer
    place = [axis.name for axis in tokenizer.size_axes].index(name)
    spec = next(spec for spec in tokenizer.specs if not spec.given and name in [own.name for own in spec.axes])
    column = [own.name for own in spec.axes].index(name)
    step = spec.axes[column].step
    usual = float(_reach(tokenizer.layout(seeds)[spec.name], column).max()) + step
    state = tokenizer.layout(seeds, case.asked[:2], [*[None] * place, round(2 * usual / tokenizer.size_axes[place].step)])
    asked = _reach(state[spec.name], column)
    torch.testing.assert_close(asked, torch.full((2,), 2 * usual - step), atol=step, rtol=0)

    guidance = Windows(windows=(Window(axis=name, size=usual, overlap=usual / 2),))
    generator = RowGenerator(case.denoiser(Rectified()), Sampling(steps=2, guidance=guidance), False)
    finished = list(generator.stream(state, case.asked[:2]))
    made = gathered(finished, state).state
    assert receipts(finished)["engine"].counts["network_calls"] >= 2 * 2 * 3, "rows x steps x windows"
    alone = generator(state.select([1]), case.asked[1:2])
    for stream in made.streams:
        torch.testing.assert_close(made[stream].values[1], alone[stream].values[0], atol=1e-4, rtol=1e-4)
    samples = tokenizer.decode(made.select([0]))
    if modality != "robot":  # a chunk of another length than training's is no sample to learn from
        torch.testing.assert_close(_reach(tokenizer.encode(samples)[spec.name], column), asked[:1], atol=1e-4, rtol=0)
    case.recipe.modality.sheet(samples, [""])


@pytest.mark.parametrize("modality", sorted(set(RECIPES) - set(AXES)))
def test_samples_without_an_axis_are_asked_for_a_number_of_elements(modality: str) -> None:
    tokenizer, seeds = case_of(modality).tokenizer, torch.tensor([5])
    (stream,) = tokenizer.layout(seeds).streams.values()
    if modality == "points":
        with pytest.raises(ValueError, match="of no other size"):
            tokenizer.layout(seeds, size=2 * int(stream.mask.sum()))
    else:
        (more,) = tokenizer.layout(seeds, size=2 * int(stream.mask.sum())).streams.values()
        assert int(more.mask.sum()) == 2 * int(stream.mask.sum())
    with pytest.raises(ValueError, match=r"size 4x4: expected at most 1, of elements"):
        tokenizer.layout(seeds, size=(4, 4))
