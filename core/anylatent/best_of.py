"""The best of several samples of each row."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent.corrections.base import no_such_stream
from anylatent.energies import Decode, Energy, SampleEnergy
from anylatent.known import Known
from anylatent.lazy import torch
from anylatent.node import Node, Stage
from anylatent.random import seed_of
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.state import State


class BestOf(Node):
    """Of several samples of each row, the one that an energy finds best: search at inference, for `count` times the calls.

    The random search of Ma et al. 2025 (2501.09732, figure 2, left). Candidate 0 is the sample that the row would be without it; the
    others have seeds made of the row's, so rows stay independent. Candidates differ by noise: an edit from fixed tokens by a
    deterministic solver, or with recorded noise, has nothing to choose from. Judged are clean tokens in the latent space, or
    decoded samples.
    """

    example: ClassVar[Mapping[str, Any]] = {"count": 2, "energy": {"kind": "roughness"}}
    neutral: ClassVar[Mapping[str, Any] | None] = {"count": 1}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "count - 1"}
    systems: ClassVar[tuple[str, ...]] = ("Search over noise, random search (2501.09732)",)

    @classmethod
    def example_for(cls, stage: Stage, variation: str = "") -> dict[str, Any]:
        return super().example_for(stage, variation) | {"stream": stage.stream}

    count: int = Field(default=4, ge=1, description="Candidates of each row. 1: no search.")
    energy: Energy = Field(description="What is to be low: of tokens, or of decoded samples.")
    stream: str = Field(default="", description="The stream whose tokens are judged; empty: every one that is made, their energies summed.")

    def refuses(self, specs: Sequence[StreamSpec]) -> str | None:
        """Why it cannot judge samples of these streams, or None."""
        if self.stream and isinstance(self.energy, SampleEnergy):
            return (
                f"best_of names the stream '{self.stream}', and energy '{self.energy.kind}' judges whole samples: leave `stream` out; "
                "the energy 'part' judges a part of a joint sample"
            )
        missing = no_such_stream("best_of", self.stream, specs)
        return missing or next(filter(None, (self.energy.refuses(spec) for spec in self._judged(specs))), None)

    def _judged(self, specs: Sequence[StreamSpec]) -> list[StreamSpec]:
        return [spec for spec in specs if not spec.given and self.stream in ("", spec.name)]

    def candidates(self, state: "State") -> "State":
        """Each row `count` times, one after the other, with seeds of their own; the first is the row itself."""
        rows = torch.arange(len(state), device=state.device).repeat_interleave(self.count)
        seeds = [seed_of("candidate", seed, k) if k else seed for seed in state.seeds.tolist() for k in range(self.count)]
        return replace(
            state.select(rows), rows=torch.arange(len(rows), device=state.device), seeds=torch.tensor(seeds, device=state.device)
        )

    def known(self, known: Known) -> Known:
        """What is known of the rows, of their candidates."""
        many = Known(*(self._repeated(getattr(known, part.name)) for part in fields(Known)))
        for counts in many.spent.values():
            for spent in counts.values():
                spent.unflatten(0, (-1, self.count))[:, 1:] = 0  # what was spent before was spent once
        return many

    def _repeated(self, tree: Any) -> Any:
        if isinstance(tree, Mapping):
            return {name: self._repeated(inner) for name, inner in tree.items()}
        return tree.repeat_interleave(self.count, 0)

    def worth(self, state: "State", specs: Sequence[StreamSpec], decode: Decode | None = None) -> Float[Tensor, " rows"]:
        """Minus the energy of each row; minus infinity where that is no number: what cannot be judged is not chosen."""
        return (-self.energy.of_state(state, self._judged(specs), decode)).nan_to_num(-torch.inf, torch.inf, -torch.inf)
