"""From one sample to another, through samples."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent.editing.base import Edit, Editor, Generator, encoded, need_gaussian
from anylatent.editing.translate import by, inverted
from anylatent.known import Known
from anylatent.lazy import torch
from anylatent.paths.between import slerp
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer


class Interpolate(Editor, kind="interpolate"):
    """Rows between two priors, equally far apart on the great circle through them: of two given samples, inverted, or of two seeds.

    Song et al. 2020, 2010.02502, sec. 5.3 and appendix D.5. Rows are asked what is asked; given samples are inverted under `source`.
    Without given samples the ends are the priors of the first and the last row's seeds.
    """

    costs: ClassVar[Mapping[str, str]] = {"network_calls": "steps * (1 + solver)"}
    systems: ClassVar[tuple[str, ...]] = ("DDIM interpolation (2010.02502)",)

    moves_by: ClassVar[str] = "its own `solver`, both ways"

    source: dict[str, Any] = Field(default={}, description="What given samples are: conditions by name; empty: nothing is said.")
    solver: Solver = Field(default=DDIM(), description="Both ways; one that has a way back.")

    def start(self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> "State":
        """The rows' layout, that of the first end. Errors: `ValueError` for one row, for one end or more than two, or of other sizes."""
        if len(seeds) < 2:
            raise ValueError("an interpolation has two ends: ask for 2 samples or more")
        if len(given) not in (0, 2):
            raise ValueError(
                f"an interpolation goes from one given sample to another, given {len(given)}: give two, or none to go between two seeds"
            )
        if not given:
            alike = tokenizer.layout(seeds[:1])
            return replace(alike.select([0] * len(seeds)), seeds=seeds.to(alike.device), rows=torch.arange(len(seeds), device=alike.device))
        ends = encoded(tokenizer, given, seeds[:2])
        for name, stream in ends.streams.items():
            one, other = stream.mask.sum(1).tolist()
            if one != other:
                raise ValueError(f"the two given samples have {one} and {other} tokens in stream '{name}': an interpolation needs as many")
        return replace(ends.select([0] * len(seeds)), seeds=seeds.to(ends.device), rows=torch.arange(len(seeds), device=ends.device))

    def edit(
        self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor, generator: Generator, conditions: Sequence[Mapping[str, Any]]
    ) -> Edit:
        need_gaussian(self.kind, "goes on great circles", generator)
        state = self.start(tokenizer, given, seeds)
        sampling = by(generator.sampling, self.solver)
        names = [spec.name for spec in generator.denoiser.specs if not spec.given]
        if given:
            ends = encoded(tokenizer, given, seeds[[0, -1]])
            made = inverted(generator, ends, [self.source] * 2, sampling)
            between = {name: slerp(made.state[name].values[0], made.state[name].values[1], len(seeds)) for name in names}
            spent = {method: {name: _at_ends(count, len(seeds)) for name, count in each.items()} for method, each in made.spent.items()}
            return Edit(state, known=Known(begun=between, spent=spent), sampling=sampling)
        found = {}
        for spec in generator.denoiser.specs:
            if not spec.given:
                noise = state.noise(spec.name, -1, 0)[[0, -1]]
                priors = generator.denoiser.path(spec.name).prior(spec, noise, state[spec.name].mask[:2])
                found[spec.name] = slerp(priors[0], priors[1], len(seeds))
        return Edit(state, known=Known(prior=found), sampling=sampling)


def _at_ends(count: Float[Tensor, " ends"], rows: int) -> Float[Tensor, " rows"]:
    """What the two ends cost, as costs of the first and the last of all rows."""
    return torch.nn.functional.pad(count[:1], (0, rows - 1)) + torch.nn.functional.pad(count[1:], (rows - 1, 0))
