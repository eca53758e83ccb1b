"""Making some streams given others, or without them."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from anylatent.editing.base import Editor, encoded
from anylatent.lazy import torch
from anylatent.node import Stage
from anylatent.types import Tensor

if TYPE_CHECKING:
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer


def require_roles(given: Collection[str], absent: Collection[str]) -> None:
    """Errors: `ValueError` if a part is given and absent, or none is either."""
    both = sorted(set(given) & set(absent))
    if both:
        raise ValueError(f"{both} cannot be given and absent")
    if not (given or absent):
        raise ValueError("say which parts are `given`, which `absent`; to make all of them, sample")


class GivenParts(Editor, kind="given-parts"):
    """Keeps whole parts of a joint sample, leaves some out, and makes the others: every conditional and marginal of one denoiser.

    Only the parts' times differ: given tokens are at time 0, absent ones at 1, the others go from 1 to 0 (Bao et al. 2023,
    2303.06555, section 3.2: UniDiffuser). Training should have seen it: `objective.given` and `objective.absent`.
    """

    example: ClassVar[Mapping[str, Any]] = {"given": ("label",)}

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return {"given": (stage.others or (stage.stream,))[:1]}

    given: tuple[str, ...] = Field(default=(), description="Parts (or streams) that are kept as they are given.")
    absent: tuple[str, ...] = Field(default=(), description="Parts (or streams) that are neither given nor made.")

    @model_validator(mode="after")
    def _apart(self) -> "GivenParts":
        require_roles(self.given, self.absent)
        return self

    def start(self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> "State":
        """Errors: `ValueError` for unknown parts, if none is left to make, or a part is given that the sample lacks."""
        kept, gone = self.roles(tokenizer)
        if self.given and not given:
            raise ValueError(f"no sample was given whose {list(self.given)} could be kept")
        for index, sample in enumerate(given):
            missing = [part for part in self.given if isinstance(sample, dict) and sample.get(part) is None]
            if missing:
                raise ValueError(f"given sample {index} lacks the parts {missing} that are to be kept")
        state = encoded(tokenizer, given, seeds) if given else tokenizer.layout(seeds)
        for name in kept:
            state = state.with_kept(name, state[name].mask)
        empty = {name: torch.zeros_like(state[name].values) for name in gone}
        return state.with_values(empty).with_time({name: torch.ones_like(state[name].time) for name in gone})

    def roles(self, tokenizer: "Tokenizer") -> tuple[set[str], set[str]]:
        """The streams that are given, and those that are absent. Errors: `ValueError` for unknown parts, or if none is left to make."""
        kept, gone = self._streams(tokenizer, self.given), self._streams(tokenizer, self.absent)
        if not {spec.name for spec in tokenizer.specs} - kept - gone:
            raise ValueError(f"nothing is left to make: given {list(self.given)}, absent {list(self.absent)}")
        return kept, gone

    def finish(self, samples: list[Any], given: list[Any]) -> list[Any]:
        """Given parts as they were given: a tokenizer may say them only nearly."""
        if not given:
            return samples
        return [self._with_given(made, given[index % len(given)]) for index, made in enumerate(samples)]

    def _with_given(self, made: Any, own: Any) -> Any:
        return made | {part: own[part] for part in self.given if part in made} if isinstance(made, dict) else made

    def _streams(self, tokenizer: "Tokenizer", parts: tuple[str, ...]) -> set[str]:
        known = [spec.name for spec in tokenizer.specs]
        found: set[str] = set()
        for part in parts:
            streams = {name for name in known if name == part or name.startswith(f"{part}-")}
            if not streams:
                raise ValueError(f"there is no part or stream '{part}': the tokens have {known}")
            found |= streams
        return found
