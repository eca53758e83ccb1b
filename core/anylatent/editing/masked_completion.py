"""Keeping a part of a sample and making the rest anew."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from anylatent.editing.base import Editor, encoded
from anylatent.lazy import torch
from anylatent.types import Bool, Tensor

if TYPE_CHECKING:
    from anylatent.state import State, Stream
    from anylatent.tokenizers.base import Tokenizer


class MaskedCompletion(Editor, kind="masked-completion"):
    """Keeps the tokens outside of a region of coordinates and makes those inside anew (or the other way round, `invert`).

    `anew` gives an interval of each named axis, as fractions of the sample's extent: `{x: [0.5, 1]}` is its right half.
    For streams without axes it is `tokens`, a fraction of the elements. Streams that are always given stay as they are.
    """

    anew: dict[str, tuple[float, float]] = Field(
        {}, description="Intervals of the axes, as fractions from 0 to 1; a token inside all is made anew."
    )
    tokens: tuple[float, float] = Field(default=(0.5, 1.0), description="For pure sets: the interval of elements that is made anew.")
    invert: bool = Field(default=False, description="Keep the inside, make the outside anew.")

    @model_validator(mode="after")
    def _ordered(self) -> "MaskedCompletion":
        for name, (low, high) in [*self.anew.items(), ("tokens", self.tokens)]:
            if not 0 <= low < high <= 1:
                raise ValueError(f"interval [{low}, {high}] of '{name}' must increase within 0 and 1")
        return self

    def start(self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> "State":
        state = encoded(tokenizer, given, seeds)
        known = {axis.name for spec in tokenizer.specs for axis in spec.axes}
        if set(self.anew) - known:
            raise ValueError(f"there is no axis {sorted(set(self.anew) - known)}: the tokens have {sorted(known) or 'none, use `tokens`'}")
        for spec in tokenizer.specs:
            stream = state[spec.name]
            if spec.given:
                continue
            inside = self._inside(stream, [axis.name for axis in spec.axes])
            keep = (inside if self.invert else ~inside) & stream.mask
            state = state.with_kept(spec.name, keep)
        self._check([state[spec.name] for spec in tokenizer.specs if not spec.given], len(given))
        return state

    def _inside(self, stream: "Stream", axes: list[str]) -> Bool[Tensor, "rows tokens"]:
        if not axes:
            place = (stream.mask.cumsum(1) - 0.5) / stream.mask.sum(1, keepdim=True)
            return (place >= self.tokens[0]) & (place <= self.tokens[1])
        inside = stream.mask.clone()
        for index, name in enumerate(axes):
            low, high = self.anew.get(name, (0.0, 1.0))
            place = stream.positions[..., index]
            first = place.masked_fill(~stream.mask, torch.inf).amin(1, keepdim=True)
            last = place.masked_fill(~stream.mask, -torch.inf).amax(1, keepdim=True)
            fraction = (place - first) / (last - first).clamp(min=1e-6)
            inside &= (fraction >= low) & (fraction <= high)
        return inside

    def _check(self, streams: "list[Stream]", given: int) -> None:
        kept = torch.stack([stream.keep.sum(1) for stream in streams]).sum(0).tolist()
        valid = torch.stack([stream.mask.sum(1) for stream in streams]).sum(0).tolist()
        for row, (part, whole) in enumerate(zip(kept, valid, strict=True)):
            if part in (0, whole):
                what = "nothing" if part == 0 else "everything"
                raise ValueError(f"{what} would be kept of the {whole} tokens of given sample {row % given}: choose another region")
