"""Making a sample again from a noised copy of a given one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent.editing.base import Edit, Editor, Generator, encoded
from anylatent.types import Tensor

if TYPE_CHECKING:
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer


class SDEdit(Editor, kind="sdedit"):
    """A given sample is noised to the time `strength`, and made from there (Meng et al. 2021, 2108.01073, algorithm 1).

    Little: nearly as it was; much: only its outline stays. Asked for something else, it becomes that, as far as it is noised.
    """

    systems: ClassVar[tuple[str, ...]] = ("SDEdit (2108.01073)",)

    strength: float = Field(default=0.5, gt=0, lt=1, description="The time that it is noised to: 0 is the sample, 1 the prior.")

    def start(self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> "State":
        return encoded(tokenizer, given, seeds)

    def edit(
        self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor, generator: Generator, conditions: Sequence[Mapping[str, Any]]
    ) -> Edit:
        return Edit(self.start(tokenizer, given, seeds), self.strength)
