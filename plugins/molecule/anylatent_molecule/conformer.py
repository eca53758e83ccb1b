"""Molecules as sets of atoms in space."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from anylatent import random
from anylatent.spec import StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.sizes import Size
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Float, Tensor
from anylatent_molecule import bonds, chemistry, conformers, sizes
from anylatent_molecule.molecule import Molecule, require_molecule, rounded
from anylatent_molecule.tokenizers import ConformerConfig

STREAM = "atoms"

FRAGMENT_SECONDS = 10.0
"""Give up on a fragment's conformer after this long."""


class ConformerTokenizer(Tokenizer):
    """One token a heavy atom: x, y, z; one channel an element; formal charge; attached hydrogens.

    Molecules are centred and turned so that their principal axes are x, y and z. Coordinates have unit variance an
    axis; elements and charge share one scale, as rare ones would be blown up by their own. Nothing is learned.
    """

    config: ConformerConfig

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__(config)
        self.width = 3 + len(config.elements) + 2
        self.statistics = Statistics(self.width)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        return (StreamSpec(name=STREAM, width=self.width, order="set", prior="normal_centred", centred=(0, 1, 2)),)

    def fit(self, samples: Sequence[Molecule]) -> None:
        rows = [self._row(sample, index) for index, sample in enumerate(samples)]
        self.facts["sizes"] = sizes.measure(samples, [len(row) for row in rows])
        atoms = torch.cat(rows)[None]
        valid = torch.ones(atoms.shape[:2], dtype=torch.bool)
        self.statistics.measure(atoms, valid)
        self.statistics.mean[:3] = 0
        shared = slice(3, 4 + len(self.config.elements))
        self.statistics.std[shared] = atoms[0, :, shared].var(0, unbiased=False).mean().sqrt().clamp(min=1e-3)

    def encode(self, samples: Sequence[Molecule], seeds: Tensor | None = None) -> State:
        rows = [self._row(sample, index) for index, sample in enumerate(samples)]
        mask = torch.arange(max(map(len, rows))) < torch.tensor([len(row) for row in rows])[:, None]
        values = self.statistics.normalise(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.statistics.mean.device))
        mask = mask.to(values.device)
        return State.of({STREAM: Stream.of(values * mask[..., None], mask=mask)}, seeds=seeds)

    def decode(self, state: State) -> list[Molecule]:
        stream = state[STREAM]
        values = self.statistics.restore(stream.values).cpu()
        return [self._molecule(row[valid].numpy()) for row, valid in zip(values, stream.mask.cpu(), strict=True)]

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        """Sizes are drawn given `logp`, `qed`, `weight`, `rings` where a row is asked for them."""
        return self._layout(sizes.asked(size, len(seeds)) or self._draw(seeds, conditions), seeds)

    def start(self, fragment: str, seeds: Tensor, atoms: int | None = None) -> State:
        """New rows with the fragment's atoms in a conformer of it, kept; the molecule goes on from the last atom that is written.

        The fragment's growing end points along x, towards where the middle of the whole will be. `atoms`: how many to
        add (None: drawn). Errors: `ValueError` if the last atom has no hydrogen to give up, or no conformer is found.
        """
        rows, growth = self._fragment(fragment)
        kept = len(rows)
        lengths = [kept + atoms] * len(seeds) if atoms else self._draw(seeds, None, least=kept + 1)
        state = self._layout(lengths, seeds)
        stream = state[STREAM]
        values = stream.values.clone()
        for index, length in enumerate(lengths):
            placed = rows.clone()
            placed[:, 0] -= growth * (length - kept) / length
            values[index, :kept] = self.statistics.normalise(placed[None].to(values.device))[0]
        keep = (torch.arange(stream.shape[1], device=values.device) < kept).expand(stream.mask.shape).clone()
        return state.with_values({STREAM: values}).with_kept(STREAM, keep)

    def count(self, sample: Molecule) -> int:
        return len(sample.elements)

    def _draw(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None, least: int = 1) -> list[int]:
        if "sizes" not in self.facts:
            raise ValueError("this tokenizer was not fitted: it does not know how large molecules are; call fit, or give a size")
        return sizes.draw(self.facts["sizes"], random.uniform(seeds, "molecule.conformer/size", 0, 0, 1)[:, 0].tolist(), conditions, least)

    def _layout(self, lengths: Sequence[int], seeds: Tensor) -> State:
        mask = torch.arange(max(lengths), device=seeds.device) < torch.tensor(lengths, device=seeds.device)[:, None]
        return State.of({STREAM: Stream.of(torch.zeros(*mask.shape, self.width, device=seeds.device), mask=mask)}, seeds=seeds)

    def _row(self, sample: Molecule, index: int) -> Float[Tensor, "atoms width"]:
        """The tokens of a molecule before normalisation. Errors: `ValueError` names the sample and what it lacks."""
        require_molecule(sample, index)
        if not sample.coordinates:
            raise ValueError(f"sample {index} ({sample.smiles}) has no coordinates: set data.conformers to true")
        mol = sample.mol()
        weights = np.array([atom.GetAtomicNum() + atom.GetTotalNumHs() for atom in mol.GetAtoms()])
        return self._tokens(mol, principal(np.array(sample.coordinates), weights), f"sample {index} ({sample.smiles})")

    def _tokens(self, mol: Any, places: np.ndarray, what: str) -> Float[Tensor, "atoms width"]:
        elements = self.config.elements
        rows = np.zeros((len(places), self.width), np.float32)
        rows[:, :3] = places
        for row, atom in zip(rows, mol.GetAtoms(), strict=True):
            if atom.GetSymbol() not in elements:
                known = ", ".join(elements)
                raise ValueError(f"{what} contains {atom.GetSymbol()}, tokenizer.elements are {known}: add it, or narrow data.elements")
            row[3 + elements.index(atom.GetSymbol())] = 1
            row[-2:] = atom.GetFormalCharge(), atom.GetTotalNumHs()
        return torch.from_numpy(rows)

    def _fragment(self, fragment: str) -> tuple[Float[Tensor, "atoms width"], float]:
        """The fragment's tokens, centred, and how far along x the centre of what grows from it lies, in angstrom."""
        from rdkit import Chem

        mol = chemistry.parse(fragment)
        last = mol.GetNumAtoms() - 1
        if not mol.GetAtomWithIdx(last).GetTotalNumHs():
            raise ValueError(f"the last atom of '{fragment}' has no hydrogen to give up: write it so that it ends where it is to go on")
        grown = Chem.RWMol(mol)
        end = grown.AddAtom(Chem.Atom("C"))
        grown.AddBond(last, end, Chem.BondType.SINGLE)
        grown.GetAtomWithIdx(last).SetNumExplicitHs(max(0, grown.GetAtomWithIdx(last).GetNumExplicitHs() - 1))
        Chem.SanitizeMol(grown)
        places = conformers.embed(grown.GetMol(), FRAGMENT_SECONDS)
        centre = places[:end].mean(0)
        away = places[end] - centre
        places = _turned_to_x(places - centre, away)
        whole = self._tokens(grown, places, f"the fragment '{fragment}'")
        return whole[:end], float(np.linalg.norm(away)) + 1.0

    def _molecule(self, row: np.ndarray) -> Molecule:
        """The molecule that an atom set is; not valid, with its atoms and the reason, if it is none."""
        count = len(self.config.elements)
        elements = tuple(self.config.elements[i] for i in row[:, 3 : 3 + count].argmax(1))
        charges = tuple(int(c) for c in row[:, -2].round().clip(-1, 1))
        hydrogens = tuple(int(h) for h in row[:, -1].round().clip(0, 4))
        places = row[:, :3].astype(np.float64)
        try:
            return Molecule.placed(bonds.perceive(bonds.Atoms(elements, charges, hydrogens, places)), places)
        except ValueError as reason:
            return Molecule("", elements, rounded(places), written=f"{len(elements)} atoms: {reason}")


def principal(places: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Places `(atoms, 3)`, centred and turned, not mirrored: the longest axis is x, the shortest z.

    Along x and y the positive side is that of the heavier tail: of the third moment with atoms weighed by `weights`.
    """
    centred = places - places.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1]
    moments = (weights[:, None] * (centred @ axes) ** 3).sum(0)
    signs = np.where(moments < 0, -1.0, 1.0)
    signs[2] = signs[0] * signs[1] * np.sign(np.linalg.det(axes))
    return (centred @ axes) * signs


def _turned_to_x(places: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Places turned so that `direction` lies along x, and what is left spreads more along y than along z."""
    x = direction / np.linalg.norm(direction)
    across = places - np.outer(places @ x, x)
    _, axes = np.linalg.eigh(across.T @ across - 1e3 * np.outer(x, x))
    y = axes[:, 2]
    return places @ np.column_stack((x, y, np.cross(x, y)))
