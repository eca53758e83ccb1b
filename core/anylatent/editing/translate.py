"""Back to the prior as what a sample is, and down again as something else."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent.editing.base import Edit, Editor, Generator, encoded, need_gaussian
from anylatent.editing.from_source import FromSource
from anylatent.guidance.none import Unguided
from anylatent.hooks.attention_from import AttentionFrom
from anylatent.known import Known, Made
from anylatent.sampling import Sampling, StreamSampling
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM
from anylatent.types import Tensor

if TYPE_CHECKING:
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer


class Translate(Editor, kind="translate"):
    """Inverts given samples under what they are, `source`, and makes samples from there under what is asked.

    Dual diffusion implicit bridges (Su et al. 2022, 2203.08382, algorithm 1), between two conditions of one denoiser. Asked for the
    `source` (or for nothing, without one) it is an inversion and its way back: nearly the sample with `ddim`, exactly with `bdia` or
    `edict`. With `attention`, attention in what is made takes from the sample's own, step by step, along the way it was inverted.
    """

    variations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"attention": {"attention": {"kind": "attention-from"}}}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "steps * (1 + solver + (attention is not None))"}
    systems: ClassVar[tuple[str, ...]] = (
        "DDIM inversion (2010.02502)", "DDIB (2203.08382)", "BDIA (2307.10829)", "EDICT (2211.12446)", "MasaCtrl (2304.08465)",
        "Prompt-to-Prompt (2208.01626)", "Plug-and-Play (2211.12572)",
    )  # fmt: skip

    moves_by: ClassVar[str] = "its own `solver`, both ways"

    source: dict[str, Any] = Field(default={}, description="What the given samples are: conditions by name; empty: nothing is said.")
    solver: Solver = Field(default=DDIM(), description="Both ways; one that has a way back.")
    attention: AttentionFrom | None = Field(default=None, description="What attention takes from the given sample; null: nothing.")

    def start(self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> "State":
        return encoded(tokenizer, given, seeds)

    def edit(
        self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor, generator: Generator, conditions: Sequence[Mapping[str, Any]]
    ) -> Edit:
        need_gaussian(self.kind, "inverts", generator)
        inside = generator.denoiser.backbone
        if self.attention is not None and (problem := self.attention.refuses(inside.depth, inside.width)):
            raise ValueError(f"editor '{self.kind}', by its {problem}")  # before an inversion is paid for
        state = self.start(tokenizer, given, seeds)
        sampling = by(generator.sampling, self.solver)
        made = inverted(generator, state, [self.source] * len(seeds), sampling, trail=self.attention is not None)
        known = begun(made, generator)
        if self.attention is None:
            return Edit(state, known=known, sampling=sampling)
        names = sorted({name for asked in conditions for name in asked} | set(self.source))
        guidance = FromSource(of=sampling.guidance, source=self.source, without=tuple(names), attention=self.attention)
        known = replace(known, measured={name: {"trail": trail} for name, trail in made.trail.items()})
        return Edit(state, known=known, sampling=sampling.model_copy(update={"guidance": guidance}))


def by(sampling: Sampling, solver: Solver) -> Sampling:
    """The same with one solver for every stream."""
    own = {name: StreamSampling(schedule=each.schedule) for name, each in sampling.streams.items()}
    return sampling.model_copy(update={"solver": solver, "streams": own})


def inverted(
    generator: Generator, state: "State", conditions: Sequence[Mapping[str, Any]], sampling: Sampling, trail: bool = False
) -> Made:
    """A clean state, taken back to the prior: unguided and uncorrected, as guidance takes an inversion away from the data."""
    plain = sampling.model_copy(update={"guidance": Unguided(), "corrections": (), "hooks": ()})
    return generator.invert(state, conditions, plain, trail)


def begun(made: Made, generator: Generator) -> Known:
    """To begin where an inversion arrived."""
    streams = {spec.name: made.state[spec.name].values for spec in generator.denoiser.specs if not spec.given}
    return Known(begun=streams, memory=made.memory, spent=made.spent)
