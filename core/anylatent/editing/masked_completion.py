"""Keeping a part of a sample and making the rest anew."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from anylatent.editing.base import Edit, Editor, Generator, encoded
from anylatent.lazy import torch
from anylatent.measurements.base import Layout
from anylatent.measurements.regions import Fractions, check_intervals, inside, unknown_axes
from anylatent.node import Stage
from anylatent.sampling import Sampling, StreamSampling
from anylatent.schedules import Resample
from anylatent.types import Tensor

if TYPE_CHECKING:
    from anylatent.state import State, Stream
    from anylatent.tokenizers.base import Tokenizer


class MaskedCompletion(Editor, kind="masked-completion"):
    """Keeps the tokens outside of a region of coordinates and makes those inside anew (or the other way round, `invert`).

    `anew` gives an interval of each named axis, as fractions of the sample's extent: `{x: [0.5, 1]}` is its right half.
    For streams without axes it is `tokens`, a fraction of the elements. Streams that are always given stay as they are.
    With `resample` the made part is noised and made again, several times on the way, until it agrees with the kept one
    (Lugmayr et al. 2022, 2201.09865). `blend` and `strength` are blended diffusion (Avrahami et al. 2022, 2206.02779).
    """

    example: ClassVar[Mapping[str, Any]] = {"anew": {"x": [0.5, 1]}}
    variations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"resample": {"resample": 2}, "blend": {"blend": True, "strength": 0.7}}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "again"}
    systems: ClassVar[tuple[str, ...]] = ("RePaint (2201.09865)", "Blended Latent Diffusion (2206.02779)")

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return super().example_for(stage, variation) | {"anew": dict.fromkeys(stage.middle(), (0.5, 1.0))}

    anew: dict[str, Fractions] = Field(
        default={}, description="Intervals of the axes, as fractions from 0 to 1; a token inside all is made anew."
    )
    tokens: Fractions = Field(default=(0.5, 1.0), description="For pure sets: the interval of elements that is made anew.")
    invert: bool = Field(default=False, description="Keep the inside, make the outside anew.")
    resample: int = Field(default=1, ge=1, description="How often steps are made in all. 1: once.")
    jump: int = Field(default=2, ge=1, description="How many steps are made again at once.")
    blend: bool = Field(default=False, description="Show kept tokens noised as the others are, to a denoiser that knows them clean too.")
    strength: float = Field(default=1.0, gt=0, le=1, description="The time to begin at; below 1 the region begins as it is given, noised.")

    @model_validator(mode="after")
    def _ordered(self) -> "MaskedCompletion":
        check_intervals(self.anew | {"tokens": self.tokens})
        return self

    def start(self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> "State":
        state = encoded(tokenizer, given, seeds)
        problem = unknown_axes(tokenizer.specs, self.anew)
        if problem:
            raise ValueError(problem)
        for spec in tokenizer.specs:
            stream = state[spec.name]
            if spec.given:
                continue
            region = inside(Layout.of(stream, spec), self.anew, self.tokens)
            keep = (region if self.invert else ~region) & stream.mask
            state = state.with_kept(spec.name, keep)
        self._check([state[spec.name] for spec in tokenizer.specs if not spec.given], len(given))
        return state

    def edit(
        self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor, generator: Generator, conditions: Sequence[Mapping[str, Any]]
    ) -> Edit:
        sampling = resampled(generator.sampling, self.jump, self.resample) if self.resample > 1 else None
        return Edit(self.start(tokenizer, given, seeds), self.strength, sampling=sampling, noised=True if self.blend else None)

    def _check(self, streams: "list[Stream]", given: int) -> None:
        kept = torch.stack([stream.keep.sum(1) for stream in streams]).sum(0).tolist()
        valid = torch.stack([stream.mask.sum(1) for stream in streams]).sum(0).tolist()
        for row, (part, whole) in enumerate(zip(kept, valid, strict=True)):
            if part in (0, whole):
                what = "nothing" if part == 0 else "everything"
                raise ValueError(f"{what} would be kept of the {whole} tokens of given sample {row % given}: choose another region")


def resampled(sampling: Sampling, jump: int, repeats: int) -> Sampling:
    """The same, with steps made again in every schedule. Errors: `ValueError` if one rises already."""
    own = {
        name: StreamSampling(solver=each.solver, schedule=each.schedule and Resample(of=each.schedule, jump=jump, repeats=repeats))
        for name, each in sampling.streams.items()
    }
    return sampling.model_copy(update={"schedule": Resample(of=sampling.schedule, jump=jump, repeats=repeats), "streams": own})
