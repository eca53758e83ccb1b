"""The contract of an editor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from anylatent.metrics.base import Generate
from anylatent.node import Node
from anylatent.paths.base import not_gaussian
from anylatent.types import Tensor

if TYPE_CHECKING:
    from anylatent.known import Known, Made
    from anylatent.sampling import Sampling
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Edit:
    """Where the rows of an edit start: their state, the time, what else is known, and how they are sampled if not as asked."""

    state: "State"
    begin: float = 1.0
    known: "Known | None" = None
    sampling: "Sampling | None" = None
    noised: bool | None = None
    """Whether given tokens are noised to each step's time; None: if the denoiser was not trained to complete."""


class Generator(Generate, Protocol):
    """What an editor may ask of the denoiser, besides what a metric may: `anylatent.generation.RowGenerator` is one."""

    sampling: "Sampling"

    def invert(
        self, state: "State", conditions: Sequence[Mapping[str, Any]], sampling: "Sampling | None" = None, trail: bool = False
    ) -> "Made":
        """The rows of a clean state, taken back to the prior."""
        ...


class Editor(Node, family="editor"):
    """Prepares a state for the engine from given samples: what is kept, from what time the rest is made anew.

    Most say it all in `start`. One that needs the denoiser (an inversion) or more than a state (a measurement) has `edit`.
    """

    moves_by: ClassVar[str] = ""
    """What it moves rows by in place of the request's solver, if it does."""

    def start(self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> "State":
        """A state of `len(seeds)` rows (given samples repeated in turn); tokens with `keep` come back unchanged.

        Errors: `ValueError` if nothing would be kept, or nothing made anew, or the sample cannot be tokenized.
        """
        raise NotImplementedError

    def edit(
        self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor, generator: Generator, conditions: Sequence[Mapping[str, Any]]
    ) -> Edit:
        """Where the rows start, each asked to become what its `conditions` say. Errors: as `start`."""
        return Edit(self.start(tokenizer, given, seeds))

    def finish(self, samples: list[Any], given: list[Any]) -> list[Any]:
        """What was made and decoded, with what must come back as it was given put back: nothing, where tokens say it all."""
        return samples


def encoded(tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> "State":
    """The given samples (in turn) as the tokens of `len(seeds)` rows; streams that are always given are kept.

    Errors: `ValueError` if none was given.
    """
    from anylatent.state import State

    if not given:
        raise ValueError("no sample was given to edit")
    clean = tokenizer.encode([given[i % len(given)] for i in range(len(seeds))])
    state = State.of(clean.streams, seeds.to(clean.device))
    for spec in tokenizer.specs:
        if spec.given:
            state = state.with_kept(spec.name, state[spec.name].mask)
    return state


def need_gaussian(kind: str, does: str, generator: Generator) -> None:
    """Errors: `ValueError` if a stream that is made is not on a Gaussian path, where this editor `does` what it does."""
    for spec in generator.denoiser.specs:
        problem = None if spec.given else not_gaussian(generator.denoiser.path(spec.name), f"editor '{kind}' {does} along")
        if problem:
            raise ValueError(f"{problem} (stream '{spec.name}')")
