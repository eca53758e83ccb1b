"""Given frames, and the rest made anew: first frame, prediction, interpolation, loop."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from anylatent.editing.base import Editor
from anylatent.lazy import torch
from anylatent.types import Tensor

if TYPE_CHECKING:
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer

_TASKS = {
    "first-frame": "the first frame",
    "prediction": "the first half",
    "interpolation": "the first and the last frames",
    "loop": "the first frame, which is also the last",
}


class Frames(Editor, kind="video.frames"):
    """Keeps some frames of a clip and makes the others anew, whatever tokenizer made tokens of them.

    Tokens are kept whose frames are all given; the tokenizer sees the other frames as standing still since the last given one,
    so nothing that is to be made can leak. Asked frames come back as they were given, bit for bit: those that tokens cannot say
    exactly (a latent of an autoencoder, a frame that shares its token with others) are put back when the rest is made.
    """

    task: Literal["first-frame", "prediction", "interpolation", "loop"] = "first-frame"
    given: int | None = Field(
        default=None,
        ge=1,
        description="Frames given at the beginning (interpolation and loop: and at the end). None: as few as whole tokens need.",
    )
    keep: tuple[int, ...] = Field(default=(), description="Frames that are given, instead of a task; negative ones count from the end.")

    @model_validator(mode="after")
    def _once(self) -> "Frames":
        if self.keep and self.given is not None:
            raise ValueError("`keep` names the frames that are given: leave `given` out")
        return self

    def start(self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> "State":
        from anylatent.state import State

        if not given:
            raise ValueError("no clip was given to edit")
        clips = [given[i % len(given)] for i in range(len(seeds))]
        by_length = {len(clip): self._spans(tokenizer, clip) for clip in given}
        spans = [by_length[len(clip)] for clip in clips]
        known = [self._known(spans[row], len(clip)) for row, clip in enumerate(clips)]
        state = tokenizer.encode([_stilled(self._content(clip, seen), seen) for clip, seen in zip(clips, known, strict=True)])
        state = State.of(state.streams, seeds.to(state.device))
        for name, stream in state.streams.items():
            keep = torch.zeros_like(stream.keep)
            for row, (span, seen) in enumerate(zip(spans, known, strict=True)):
                whole = torch.tensor([all(frame in seen for frame in frames) for frames in span])
                keep[row, : len(whole)] = whole.to(keep.device)
                self._check(whole, span, seen, row % len(given))
            state = state.with_kept(name, keep & stream.mask)
        return state

    def finish(self, samples: list[Any], given: list[Any]) -> list[Any]:
        """The given frames as they were given."""
        finished = []
        for row, sample in enumerate(samples):
            clip = given[row % len(given)]
            frames = sorted(self._given_frames(clip))
            whole = sample.clone()
            whole[frames] = self._content(clip, set(frames))[frames].to(whole)
            finished.append(whole)
        return finished

    def _given_frames(self, clip: Tensor) -> set[int]:
        """The frames that were asked to be given, without those added to fill a token: whatever the tokens were."""
        return self._known([[frame] for frame in range(len(clip))], len(clip))

    def _known(self, spans: list[list[int]], frames: int) -> set[int]:
        """The given frames of a clip whose tokens cover these frames."""
        if self.keep:
            outside = [frame for frame in self.keep if not -frames <= frame < frames]
            if outside:
                raise ValueError(f"there is no frame {outside[0]}: the given clip has {frames}, 0 to {frames - 1}")
            return {frame % frames for frame in self.keep}
        if self.given is not None and self.given >= frames:
            raise ValueError(f"{self.given} given frames of a clip of {frames} leave nothing to make")
        at_least = self.given or (frames // 2 if self.task == "prediction" else 1)
        rounded = self.given is None
        first = {frame for span in spans if rounded and span[0] < at_least for frame in span} | set(range(at_least))
        if self.task in ("first-frame", "prediction"):
            return first
        from_end = frames - (self.given or 1)
        return first | {frame for span in spans if rounded and span[-1] >= from_end for frame in span} | set(range(from_end, frames))

    def _content(self, clip: Tensor, known: set[int]) -> Tensor:
        """The clip; of a loop, what is given at the end is the first frame."""
        if self.task != "loop" or self.keep:
            return clip
        clip, frame = clip.clone(), len(clip) - 1
        while frame > 0 and frame in known:
            clip[frame] = clip[0]
            frame -= 1
        return clip

    def _spans(self, tokenizer: "Tokenizer", clip: Tensor) -> list[list[int]]:
        """The frames that each token of a clip covers, by the times that its tokenizer gives them.

        T times share the frames evenly; or the first has one and the others share the rest (1 + n * k frames).
        """
        state = tokenizer.encode([clip])
        spans: list[list[int]] = []
        for spec in tokenizer.specs:
            axis = next((index for index, axis in enumerate(spec.axes) if axis.name == "t"), None)
            if axis is None:
                raise ValueError(f"video.frames needs tokens that have a time: stream '{spec.name}' has no axis 't'")
            stream = state[spec.name]
            times, place = stream.positions[0, stream.mask[0], axis].unique(return_inverse=True)
            each = _shares(len(clip), len(times), bool(times[0] < 1e-6))
            spans += [each[index] for index in place.tolist()]
        return spans

    def _check(self, whole: Tensor, spans: list[list[int]], known: set[int], sample: int) -> None:
        if whole.all():
            raise ValueError(f"every frame of given clip {sample} would be kept: nothing is left to make")
        if not whole.any():
            longest = max(map(len, spans))
            raise ValueError(
                f"no token of given clip {sample} would be kept: a token covers {longest} frames, and {len(known)} are given; give more, "
                "leave `given` out, or use a tokenizer whose tokens cover one frame"
            )


def _shares(frames: int, times: int, alone: bool) -> list[list[int]]:
    """The frames of each token time; `alone`: the first is at time 0, so the first frame has it for itself."""
    if not alone and frames % times == 0:
        size = frames // times
        return [list(range(i * size, (i + 1) * size)) for i in range(times)]
    if alone and times > 1 and (frames - 1) % (times - 1) == 0:
        size = (frames - 1) // (times - 1)
        return [[0], *(list(range(1 + i * size, 1 + (i + 1) * size)) for i in range(times - 1))]
    raise ValueError(f"video.frames cannot tell which of {frames} frames belong to which of {times} token times")


def _stilled(clip: Tensor, known: set[int]) -> Tensor:
    """The clip with each frame that is not given replaced by the last given one before it (the first given one before that)."""
    shown, last = [], min(known)
    for frame in range(len(clip)):
        last = frame if frame in known else last
        shown.append(last)
    return clip[shown]
