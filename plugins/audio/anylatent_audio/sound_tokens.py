"""What the tokenizers of sound share: which samples they take, tokens in time, and how long new sounds are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import torch

from anylatent.spec import AxisSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.arrays import describe
from anylatent.tokenizers.set_tokenizer import draw_size
from anylatent.tokenizers.sizes import Size, asked_sizes
from anylatent.types import Tensor
from anylatent_audio.sound import Sound

STREAM = "sound"
LONGEST = 600.0
"""Seconds that may be asked for: a slip of the pen should not fill the memory."""


def check_sound(sample: Any, index: int, rate: int) -> Sound:
    """Errors: `ValueError` with the sample's index, what was expected and what was given."""
    if isinstance(sample, Sound) and sample.rate == rate and isinstance(sample.samples, torch.Tensor):
        x = sample.samples
        if x.dtype == torch.float32 and x.dim() == 1 and len(x) and bool(x.isfinite().all()):
            return sample
    if isinstance(sample, Sound):
        given = f"a Sound at {sample.rate} Hz, {describe(sample.samples)}"
    else:
        given = describe(sample)
    raise ValueError(f"sample {index}: expected a Sound at {rate} Hz with finite float32 samples (T,), given {given}")


def check_example(example: Any, kind: str) -> int:
    """The rate of the sounds to come. Errors: `ValueError` if the example is no sound."""
    if not isinstance(example, Sound):
        raise ValueError(f"tokenizer '{kind}' takes sounds (anylatent_audio.sound.Sound), given {describe(example)}")
    return example.rate


def sizes_of(samples: Sequence[Sound], span: int) -> list[list[int]]:
    """Tokens of `span` samples and how many sounds have as many, as JSON."""
    return [list(pair) for pair in sorted(Counter(ceil(len(sound) / span) for sound in samples).items())]


def axis_of(span: int, rate: int) -> AxisSpec:
    """Time, in tokens of `span` samples."""
    return AxisSpec(name="t", unit="s", step=span / rate)


def stream_of(rows: Sequence[Tensor], seconds: float) -> Stream:
    """Rows `(N, C)` of any lengths, padded: tokens of `seconds` each, placed at their middles."""
    values = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    mask = torch.arange(values.shape[1])[None] < torch.tensor([len(row) for row in rows])[:, None]
    middles = (torch.arange(values.shape[1]) + 0.5) * seconds
    positions = (middles[None] * mask)[..., None]
    return Stream.of(values, positions.to(values.device), mask.to(values.device))


def empty_sounds(
    sizes: Sequence[Sequence[int]],
    span: int,
    rate: int,
    width: int,
    seeds: Tensor,
    conditions: Sequence[Mapping[str, Any]] | None,
    size: Size,
) -> State:
    """New rows: of `size` tokens; else as long as the condition `duration` (or `seconds`) asks; else drawn as training saw them.

    Errors: `ValueError` for a size or duration that is no length.
    """
    (count,) = asked_sizes(size, (axis_of(span, rate),))
    tokens = draw_size([(count, times) for count, times in sizes], seeds) if count is None else [count] * len(seeds)
    if count is None and conditions is not None:
        asked = [_asked_tokens(row, span, rate) for row in conditions]
        tokens = [drawn if wanted is None else wanted for drawn, wanted in zip(tokens, asked, strict=True)]
    stream = stream_of([torch.zeros(count, width) for count in tokens], span / rate)
    return State.of({STREAM: stream}, seeds)


def _asked_tokens(conditions: Mapping[str, Any], span: int, rate: int) -> int | None:
    duration = conditions.get("duration", conditions.get("seconds"))
    if duration is None:
        return None
    if not isinstance(duration, int | float) or not 0 < duration <= LONGEST:
        raise ValueError(f"duration {duration!r}: expected seconds, above 0 and at most {LONGEST:g}")
    return max(1, ceil(round(duration * rate) / span))
