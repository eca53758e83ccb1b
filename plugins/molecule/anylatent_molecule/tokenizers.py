"""Recipe nodes of the molecule tokenizers."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from anylatent.spec import AxisSpec
from anylatent.tokenizers.config import TokenizerConfig
from anylatent.training.config import Training
from anylatent_molecule.molecule import Molecule
from anylatent_molecule.symbols import Representation

if TYPE_CHECKING:
    from anylatent_molecule.conformer import ConformerTokenizer
    from anylatent_molecule.sequence import SequenceTokenizer


class SequenceConfig(TokenizerConfig, kind="molecule.selfies"):
    """Molecules as text in a learned latent space: one token a piece, read back by a recurrent decoder.

    Trainable. With `representation: selfies` whatever is decoded is a molecule; with `smiles` it may not be.
    """

    representation: Representation = Field(default="selfies", description="How molecules are written.")
    merge: bool = Field(default=True, description="Merge symbols that often follow each other into one piece (byte-pair encoding).")
    vocabulary: int = Field(default=128, ge=4, description="Room for different pieces; data with more single symbols are refused.")
    channels: int = Field(default=16, ge=1, description="Numbers a token: C of the latent stream.")
    width: int = Field(default=128, ge=8, description="Width of encoder and decoder.")
    depth: int = Field(default=2, ge=0, description="Convolutions with which the decoder looks around.")
    kl: float = Field(default=1e-2, ge=0, description="Weight of the posterior's divergence from the standard normal.")
    noise: float = Field(default=2.0, ge=0, description="Training decodes latents with up to this much noise, in standard deviations.")
    doubt: float = Field(
        default=0.5, ge=0, description="How noisy the decoder takes latents to be: the more, the more it follows what is usual."
    )
    temperature: float = Field(default=0.0, ge=0, description="Of the decoder: 0 says the likeliest piece, 1 draws by the row's seed.")
    train: Training = Training(steps=500, batch=64, learning_rate=3e-3, warmup=20, decay="cosine", ema=())

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "SequenceTokenizer":
        from anylatent_molecule.sequence import SequenceTokenizer

        _require_molecule(self.kind, example)
        return SequenceTokenizer(self)


class ConformerConfig(TokenizerConfig, kind="molecule.conformer"):
    """Molecules as sets of heavy atoms in space: element, charge, hydrogens and place; bonds are found again from distances."""

    elements: tuple[str, ...] = Field(default=("C", "N", "O", "F", "S", "Cl"), description="Those that molecules may have.")

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "ConformerTokenizer":
        from anylatent_molecule.conformer import ConformerTokenizer

        _require_molecule(self.kind, example)
        return ConformerTokenizer(self)


def _require_molecule(kind: str, example: Any) -> None:
    if not isinstance(example, Molecule):
        raise ValueError(f"{kind} tokenizes molecules (anylatent_molecule.Molecule), given {type(example).__name__}")
