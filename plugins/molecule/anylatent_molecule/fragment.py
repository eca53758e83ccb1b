"""Keeping a fragment and growing molecules from it."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from anylatent.editing.base import Editor
from anylatent_molecule.molecule import Molecule

if TYPE_CHECKING:
    from torch import Tensor

    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer


class Fragment(Editor, kind="molecule.fragment"):
    """Keeps a fragment's tokens and makes the rest of a molecule anew, going on from the fragment's last atom.

    With `molecule.selfies` the fragment's pieces are the first ones; with `molecule.conformer` its atoms are kept where
    a conformer of the fragment has them. Without `smiles`, the given molecules are the fragments.
    """

    smiles: str = Field(default="", description="The fragment, written so that its last atom is where the molecule goes on: c1ccccc1.")
    add: int | None = Field(default=None, ge=1, description="Tokens to add; none: as many as molecules usually have.")

    def start(self, tokenizer: "Tokenizer", given: list[Any], seeds: "Tensor") -> "State":
        from anylatent.state import State
        from anylatent_molecule.conformer import ConformerTokenizer
        from anylatent_molecule.sequence import SequenceTokenizer

        if not isinstance(tokenizer, SequenceTokenizer | ConformerTokenizer):
            kind = tokenizer.config.kind
            raise ValueError(f"molecule.fragment works with molecule.selfies and molecule.conformer, this run's tokenizer is '{kind}'")
        fragments = [self.smiles] if self.smiles else [_smiles_of(sample) for sample in given]
        if not fragments:
            raise ValueError("no fragment was given: set `smiles`, or give a molecule")
        rows = [tokenizer.start(fragments[i % len(fragments)], seeds[i : i + 1], self.add) for i in range(len(seeds))]
        whole = State.cat(rows)
        return State.of(whole.streams, seeds=seeds)


def _smiles_of(sample: Any) -> str:
    if not isinstance(sample, Molecule) or not sample.valid:
        raise ValueError(f"the given sample {sample!r} is no molecule: expected one to grow from")
    return sample.smiles
