"""Fragments that are kept: their contract with both tokenizers, and that molecules contain them."""

import numpy as np
import pytest
import torch
from rdkit import Chem

from anylatent.testing import EditorCase, EditorContract
from anylatent.tokenizers.grid import GridConfig
from anylatent_molecule import conformers
from anylatent_molecule.fragment import Fragment
from anylatent_molecule.molecule import Molecule
from anylatent_molecule.sequence import SequenceTokenizer
from anylatent_molecule.tokenizers import ConformerConfig, SequenceConfig

SMILES = ["CCO", "CC(=O)Oc1ccccc1C(=O)O", "c1ccncc1", "CC(C)CC(N)C(=O)O", "Nc1ccc(Cl)cc1", "CS(=O)(=O)Nc1ccccc1"]
FRAGMENTS = [Molecule.of("CCO"), Molecule.of("c1ccncc1")]


def _sequence() -> SequenceTokenizer:
    samples = [Molecule.of(text) for text in SMILES]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = SequenceConfig(vocabulary=32, channels=4, width=16).build(samples[0]).eval()
    tokenizer.prepare(samples)
    tokenizer.fit(samples)
    return tokenizer


def _conformer():
    mols = [Molecule.of(text).mol() for text in SMILES]
    samples = [Molecule.placed(mol, conformers.embed(mol, 5.0)) for mol in mols]
    tokenizer = ConformerConfig().build(samples[0])
    tokenizer.fit(samples)
    return tokenizer


class _FragmentContract(EditorContract):
    def test_it_starts_from_the_given_samples(self, case: EditorCase) -> None:
        """A row a seed, the fragments in turn; their tokens come first and are kept, the others are empty."""
        state = self._start(case, list(range(4)))
        assert state.seeds.tolist() == [0, 1, 2, 3]
        (stream,) = state.streams.values()
        sizes = [3, 6] * 2 if isinstance(case.tokenizer.config, ConformerConfig) else [case.tokenizer.count(f) for f in FRAGMENTS] * 2
        assert stream.keep.sum(1).tolist() == sizes
        for row, size in enumerate(sizes):
            assert stream.keep[row, :size].all()
            assert stream.mask[row].sum() > size
        assert not stream.values[~stream.keep].any()


UNREADABLE = Fragment(smiles="c1cc")


class TestInText(_FragmentContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> EditorCase:
        refused = [(UNREADABLE, "'c1cc' cannot be read: expected SMILES"), (Fragment(smiles="[Fe]"), "which no training sample has")]
        return EditorCase(Fragment(add=4), _sequence(), FRAGMENTS, refused=refused)


class TestInSpace(_FragmentContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> EditorCase:
        refused = [(UNREADABLE, "'c1cc' cannot be read: expected SMILES"), (Fragment(smiles="CC#N"), "has no hydrogen to give up")]
        return EditorCase(Fragment(add=4), _conformer(), FRAGMENTS, refused=refused)

    def test_the_fragment_keeps_its_shape_and_its_open_end(self, case: EditorCase) -> None:
        """Places are those of a conformer; the last atom has given up one hydrogen; more is to come along x."""
        state = Fragment(smiles="Oc1ccccc1", add=5).start(case.tokenizer, [], torch.arange(2))
        stream = state["atoms"]
        assert stream.mask.sum(1).tolist() == [12, 12]
        atoms = case.tokenizer.statistics.restore(stream.values)[0, :7].numpy()  # pyright: ignore[reportAttributeAccessIssue]
        assert np.linalg.norm(atoms[1, :3] - atoms[0, :3]) == pytest.approx(1.36, abs=0.03)
        assert atoms[:, -1].round().astype(int).tolist() == [1, 0, 1, 1, 1, 1, 0]
        assert atoms[:, 0].mean() < -0.5


def test_pieces_of_a_fragment_are_read_as_they_stand() -> None:
    """Kept tokens are those of the fragment as it is written, not of its canonical form; `add` says how many follow."""
    tokenizer = _sequence()
    state = Fragment(smiles="OCC", add=3).start(tokenizer, [], torch.arange(3))
    ids = tokenizer._ids("OCC", "the fragment")
    assert state["symbols"].keep.sum(1).tolist() == [len(ids)] * 3
    assert state["symbols"].mask.sum(1).tolist() == [len(ids) + 3] * 3
    assert "".join(tokenizer.facts["vocabulary"][i] for i in ids) == "[O][C][C]"


def test_what_begins_with_a_fragment_contains_it() -> None:
    """SELFIES that goes on from a fragment's text keeps the fragment, whatever follows."""
    import selfies

    ring = Chem.MolFromSmarts("c1ccncc1")
    start = selfies.encoder("c1ccncc1")
    letters = ["[C]", "[=C]", "[O]", "[N]", "[Branch1]", "[Ring1]", "[=O]", "[Cl]"]
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(100):
        text = start + "[C]" + "".join(rng.choice(letters, size=6))
        kept += Molecule.of(selfies.decoder(text)).mol().HasSubstructMatch(ring)
    assert kept >= 95


@pytest.mark.parametrize(
    ("editor", "given", "message"),
    [
        (Fragment(), [], "no fragment was given: set `smiles`, or give a molecule"),
        (Fragment(), [Molecule("", written="x")], "is no molecule: expected one to grow from"),
        (Fragment(smiles="C1C"), [], "'C1C' cannot be read"),
        (Fragment(smiles="C[Fe]"), [], r"the fragment \(C\[Fe\]\) has the symbol \[Fe\], which no training sample has"),
    ],
)
def test_fragments_that_cannot_be_kept_say_why(editor: Fragment, given: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        editor.start(_sequence(), given, torch.arange(2))


def test_a_full_end_and_a_foreign_tokenizer_are_refused() -> None:
    with pytest.raises(ValueError, match="the last atom of 'CC#N' has no hydrogen to give up"):
        Fragment(smiles="CC#N").start(_conformer(), [], torch.arange(2))
    from anylatent.spec import AxisSpec

    axes = (AxisSpec(name="y", unit="px"), AxisSpec(name="x", unit="px"))
    grid = GridConfig(patch=(2, 2)).build(torch.zeros(4, 4, 1), axes)
    with pytest.raises(ValueError, match=r"works with molecule\.selfies and molecule\.conformer, this run's tokenizer is 'grid'"):
        Fragment(smiles="CC").start(grid, [], torch.arange(2))
