"""The tokenizers: their contracts, what a trained one reconstructs, randomness by row, geometry."""

import itertools
import re

import numpy as np
import pytest
import torch

from anylatent import random
from anylatent.state import State
from anylatent.testing import TokenizerCase, TokenizerContract
from anylatent_molecule import bonds, pieces, symbols
from anylatent_molecule.conformer import ConformerTokenizer
from anylatent_molecule.data import Nci
from anylatent_molecule.molecule import Molecule
from anylatent_molecule.sequence import SequenceTokenizer
from anylatent_molecule.tokenizers import ConformerConfig, SequenceConfig

SMILES = ["CCO", "CC(=O)Oc1ccccc1C(=O)O", "c1ccncc1", "CC(C)CC(N)C(=O)O", "O=[N+]([O-])c1ccc(Cl)cc1", "CS(=O)(=O)Nc1ccccc1", "C#CCN"]


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYLATENT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def _molecules() -> list[Molecule]:
    return [Molecule.of(text) for text in SMILES]


def _placed() -> list[Molecule]:
    from anylatent_molecule import conformers

    mols = [Molecule.of(text).mol() for text in SMILES]
    return [Molecule.placed(mol, conformers.embed(mol, 5.0)) for mol in mols]


class _SequenceContract(TokenizerContract):
    representation: symbols.Representation

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        config = SequenceConfig(representation=cls.representation, vocabulary=48, channels=4, width=16, temperature=0.7)
        return TokenizerCase(
            config, _molecules(),
            bad=[Molecule("", written="[X]"), "CCO", Molecule.of("[Fe]")],
            sizes={5: 5, 12: 12},
            round_trip=None,  # the decoder is not trained here; `test_a_trained_one_…` says what a trained one reaches
        )  # fmt: skip


class TestSelfies(_SequenceContract):
    representation = "selfies"


class TestSmiles(_SequenceContract):
    representation = "smiles"


class TestConformer(TokenizerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        samples = _placed()
        without = Molecule.of("CCO")
        strange = Molecule.placed(Molecule.of("CBr").mol(), np.array([[0.0, 0, 0], [1.9, 0, 0]]))
        return TokenizerCase(
            ConformerConfig(), samples, bad=[without, strange, Molecule("", written="3 atoms"), 7], sizes={4: 4}, permute=_permuted,
            round_trip=None,  # atoms that a symmetry exchanges may; `test_bonds_are_found_again…` says what comes back
        )  # fmt: skip


def _permuted(sample: Molecule, order: list[int]) -> Molecule:
    """The same molecule with its atoms written in another order: each by itself, bonds as ring closures."""
    from rdkit import Chem

    mol = sample.mol()
    Chem.Kekulize(mol, clearAromaticFlags=True)
    signs = {Chem.BondType.SINGLE: "-", Chem.BondType.DOUBLE: "=", Chem.BondType.TRIPLE: "#"}
    atoms = []
    for i in order:
        atom = mol.GetAtomWithIdx(i)
        charge = f"{atom.GetFormalCharge():+d}" if atom.GetFormalCharge() else ""
        hydrogens = f"H{atom.GetTotalNumHs()}" if atom.GetTotalNumHs() else ""
        closures = "".join(f"{signs[bond.GetBondType()]}%{bond.GetIdx() + 10}" for bond in atom.GetBonds())
        atoms.append(f"[{atom.GetSymbol()}{hydrogens}{charge}]{closures}")
    text = ".".join(atoms)
    assert Molecule.of(text).smiles == sample.smiles
    return Molecule(text, tuple(sample.elements[i] for i in order), tuple(sample.coordinates[i] for i in order))


# --- the text tokenizer -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> tuple[SequenceTokenizer, list[Molecule]]:
    """A small tokenizer with room in its tokens, trained for a few seconds, and held-out molecules whose symbols it knows."""
    data = Nci(rows=1500, max_atoms=14, max_symbols=24, elements=("C", "N", "O"))
    train, test = data.build("train"), data.build("test")
    samples = [train[i].sample for i in range(len(train))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = SequenceConfig(vocabulary=48, width=64, channels=16, noise=1.0).build(samples[0])
    tokenizer.prepare(samples)
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=6e-3)
    fading = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, 250)
    order = torch.Generator().manual_seed(0)
    for step in range(250):
        batch = torch.randint(len(samples), (64,), generator=order).tolist()
        loss, _ = tokenizer.loss([samples[i] for i in batch], torch.tensor([random.seed_of(step, i) for i in batch]))
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        fading.step()
    tokenizer.eval().requires_grad_(False)
    tokenizer.fit(samples)
    known = set(tokenizer.facts["vocabulary"])
    held_out = [test[i].sample for i in range(len(test))]
    return tokenizer, [sample for sample in held_out if set(symbols.split(sample.smiles, "selfies")) <= known]


def _noised(state: State, level: float) -> State:
    noise = state.noise("symbols", 0, 0)
    return state.with_values({"symbols": state["symbols"].values + level * noise})


def test_a_trained_one_reconstructs_held_out_molecules(trained: tuple[SequenceTokenizer, list[Molecule]]) -> None:
    """Exactly, 95 % and more after seconds of training; and most of them from tokens as noisy as a denoiser's."""
    tokenizer, held_out = trained
    assert len(held_out) > 40
    state = tokenizer.encode(held_out)

    def exact(level: float) -> float:
        return sum(a == b for a, b in zip(tokenizer.decode(_noised(state, level)), held_out, strict=True)) / len(held_out)

    assert exact(0.0) >= 0.95
    assert exact(0.2) >= 0.9


def test_whatever_is_decoded_is_a_molecule(trained: tuple[SequenceTokenizer, list[Molecule]]) -> None:
    tokenizer, _ = trained
    state = tokenizer.layout(torch.arange(200))
    made = tokenizer.decode(_noised(state, 2.0))
    assert sum(molecule.valid for molecule in made) >= 198


def test_a_warm_decoder_draws_by_row_seed(trained: tuple[SequenceTokenizer, list[Molecule]]) -> None:
    """At temperature 1 two seeds say different molecules, and a row says the same alone and in any company."""
    tokenizer, _ = trained
    warm = SequenceConfig(vocabulary=48, width=64, channels=16, temperature=1.0, doubt=1.5).build(Molecule.of("C"))
    warm.restore(tokenizer.facts)
    warm.load_state_dict(tokenizer.state_dict())
    warm.eval()
    state = warm.layout(torch.arange(40), size=8)
    said = warm.decode(state)
    assert len({molecule.smiles for molecule in said}) > 20, "from the same tokens, by seed"
    assert warm.decode(state) == said
    for row in (0, 17, 39):
        assert warm.decode(state.select([row])) == [said[row]]


def test_tokens_of_a_beginning_are_the_beginning_of_the_tokens(trained: tuple[SequenceTokenizer, list[Molecule]]) -> None:
    """The encoder looks back only: later pieces change nothing."""
    tokenizer, held_out = trained
    ids, mask = tokenizer._batch(held_out[:20])
    whole, _ = tokenizer._posterior(ids, mask)
    for length in (1, 2, 3):
        part, _ = tokenizer._posterior(ids[:, :length], mask[:, :length])
        torch.testing.assert_close(part * mask[:, :length, None], (whole * mask[..., None])[:, :length], atol=1e-5, rtol=0)


def test_sizes_follow_what_is_asked(trained: tuple[SequenceTokenizer, list[Molecule]]) -> None:
    tokenizer, _ = trained
    seeds = torch.arange(200)

    def mean(**asked: float) -> float:
        return float(tokenizer.layout(seeds, [asked] * 200)["symbols"].mask.sum(1).float().mean())

    assert mean(weight=80.0) + 1 < mean(weight=150.0) < mean(weight=220.0) - 1
    assert mean(rings=0.0, weight=150.0) != mean(rings=2.0, weight=150.0)


def test_too_many_symbols_are_refused() -> None:
    samples = [Molecule.of(text) for text in SMILES]
    tokenizer = SequenceConfig(vocabulary=6).build(samples[0])
    with pytest.raises(ValueError, match=r"the data have \d+ different symbols, the tokenizer has room for 6: raise tokenizer.vocabulary"):
        tokenizer.prepare(samples)


def test_what_selfies_cannot_write_and_unknown_symbols_are_named() -> None:
    samples = [Molecule.of(text) for text in SMILES]
    tokenizer = SequenceConfig().build(samples[0])
    tokenizer.prepare(samples)
    with pytest.raises(ValueError, match=r"sample 0 \(\[Fe\]\) has the symbol \[Fe\], which no training sample has"):
        tokenizer.encode([Molecule.of("[Fe]")])
    with pytest.raises(ValueError, match=r"sample 1: SELFIES cannot write '.*'.*data.max_symbols leaves such out"):
        tokenizer.encode([samples[0], Molecule.of("CI(=O)=O")])
    with pytest.raises(ValueError, match="was not fitted"):
        tokenizer.layout(torch.arange(2))
    with pytest.raises(ValueError, match=r"molecule.selfies tokenizes molecules \(anylatent_molecule.Molecule\), given str"):
        SequenceConfig().build("CCO")


@pytest.mark.parametrize("representation", ["selfies", "smiles"])
def test_symbols_and_pieces_say_the_same_text(representation: symbols.Representation) -> None:
    """Splitting into symbols, merging into pieces and joining again loses nothing; merging makes it shorter."""
    data = Nci(rows=300, max_atoms=20, elements=("C", "N", "O", "S", "Cl", "Br")).build("train")
    texts = [data[i].sample.smiles for i in range(len(data))]
    words = [symbols.split(text, representation) for text in texts if _writable(text)]
    vocabulary, merges = pieces.learn(words, 100)
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    assert len(vocabulary) == 100 == len(set(vocabulary))
    for word, text in zip(words, filter(_writable, texts), strict=True):
        merged = pieces.split(word, ranks)
        assert "".join(merged) == "".join(word)
        assert set(merged) <= set(vocabulary)
        assert Molecule.of(symbols.smiles_of("".join(merged), representation)).smiles == text
    assert sum(len(pieces.split(word, ranks)) for word in words) < 0.6 * sum(map(len, words))


def _writable(text: str) -> bool:
    try:
        return bool(symbols.split(text, "selfies"))
    except ValueError:
        return False


def test_merges_are_those_of_counting_again_each_time() -> None:
    """The incremental counts make the merges that the definition of byte-pair encoding does."""
    words = [tuple(word) for word in ("abcab", "ababab", "cabab", "bcbcab", "aaaa", "aaab")] * 3
    _, merges = pieces.learn(words, 8)
    texts = [list(word) for word in words]
    for merge in merges:
        counts: dict[tuple[str, str], int] = {}
        for text in texts:
            for pair in itertools.pairwise(text):
                counts[pair] = counts.get(pair, 0) + 1
        assert merge == min(counts, key=lambda pair: (-counts[pair], pair))
        texts = [pieces.split(text, {merge: 0}) for text in texts]


# --- the 3D tokenizer ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def placed() -> tuple[ConformerTokenizer, list[Molecule]]:
    data = Nci(rows=250, max_atoms=11, elements=("C", "N", "O", "F", "S", "Cl"), conformers=True).build("train")
    samples = [data[i].sample for i in range(len(data))]
    tokenizer = ConformerConfig().build(samples[0])
    tokenizer.fit(samples)
    return tokenizer, samples


def test_bonds_are_found_again_from_places(placed: tuple[ConformerTokenizer, list[Molecule]]) -> None:
    """Of real conformers 99 % and more come back with all bond orders, and their atoms where they were."""
    tokenizer, samples = placed
    decoded = tokenizer.decode(tokenizer.encode(samples))
    same = [a.smiles == b.smiles for a, b in zip(samples, decoded, strict=True)]
    assert sum(same) / len(same) >= 0.99
    for before, after in zip(samples, decoded, strict=True):
        if after.valid:
            # Atoms that a symmetry exchanges may have changed places: what is between them has not.
            gaps = [
                np.sort(np.linalg.norm(np.array(m.coordinates)[:, None] - np.array(m.coordinates), axis=-1).ravel())
                for m in (before, after)
            ]
            assert before.elements == after.elements
            assert np.allclose(*gaps, atol=2e-3)


def test_turning_and_moving_a_molecule_changes_nothing(placed: tuple[ConformerTokenizer, list[Molecule]]) -> None:
    tokenizer, samples = placed
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    # Symmetric ones have no axes of their own, small ones lie in a plane: their pose may flip.
    odd = [s for s in samples if len(s.elements) > 9 and np.linalg.svd(np.array(s.coordinates), compute_uv=False)[2] > 1.0][:10]
    assert len(odd) > 3
    moved = [Molecule(s.smiles, s.elements, tuple(map(tuple, (np.array(s.coordinates) @ turn + [3.0, -2.0, 9.0]).tolist()))) for s in odd]
    before, after = tokenizer.encode(odd)["atoms"].values, tokenizer.encode(moved)["atoms"].values
    torch.testing.assert_close(after, before, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda values: values * torch.tensor([0.1] * 3 + [1.0] * 8), "angstrom apart"),
        (lambda values: values * torch.tensor([5.0] * 3 + [1.0] * 8), r"it falls into \d+ parts"),
    ],
)
def test_atoms_that_are_no_molecule_say_why(placed: tuple[ConformerTokenizer, list[Molecule]], change, reason: str) -> None:
    tokenizer, samples = placed
    state = tokenizer.encode([sample for sample in samples if len(sample.elements) > 5][:5])
    made = tokenizer.decode(state.with_values({"atoms": change(state["atoms"].values)}))
    for molecule in made:
        assert not molecule.valid
        assert len(molecule.elements) == len(molecule.coordinates) > 5
        with pytest.raises(ValueError, match="there is no structure"):
            molecule.mol()
    assert any(re.search(reason, molecule.written) for molecule in made)


def test_too_many_neighbours_are_refused() -> None:
    places = np.array([[0.0, 0, 0], [1.5, 0, 0], [-1.5, 0, 0], [0, 1.5, 0], [0, -1.5, 0], [0, 0, 1.5]])
    with pytest.raises(ValueError, match="Explicit valence for atom # 0 C, 5, is greater than permitted"):
        bonds.perceive(bonds.Atoms(("C",) * 6, (0,) * 6, (0,) + (3,) * 5, places))


def test_a_kept_beginning_is_said_as_it_was_given(trained: tuple[SequenceTokenizer, list[Molecule]]) -> None:
    """Whatever the other tokens are, and however much the decoder doubts: every molecule holds the fragment."""
    from rdkit import Chem

    tokenizer, _ = trained
    doubtful = SequenceConfig(vocabulary=48, width=64, channels=16, temperature=1.0, doubt=1.5).build(Molecule.of("C"))
    doubtful.restore(tokenizer.facts)
    doubtful.load_state_dict(tokenizer.state_dict())
    for fragment in ("c1ccccc1", "CC(=O)N"):
        state = doubtful.eval().start(fragment, torch.arange(300), atoms=5)
        stream = state["symbols"]
        noise = state.noise("symbols", 0, 0) * stream.mask[..., None]
        state = state.with_values({"symbols": torch.where(stream.keep[..., None], stream.values, noise)})
        pattern = Chem.MolFromSmiles(fragment)
        assert all(Chem.MolFromSmiles(molecule.smiles).HasSubstructMatch(pattern) for molecule in doubtful.decode(state))
