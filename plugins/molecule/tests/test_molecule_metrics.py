"""The metrics: their contract, known answers, and samples that are not valid."""

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from anylatent.metrics.base import Evidence, Metric, TooFewSamples
from anylatent.testing import Listed, MetricCase, MetricContract
from anylatent_molecule import chemistry
from anylatent_molecule.data import Nci
from anylatent_molecule.metrics import chemnet
from anylatent_molecule.metrics.chemnet import ChemNet, ChemNetDistance
from anylatent_molecule.metrics.diversity import Diversity, similarities
from anylatent_molecule.metrics.properties import Properties
from anylatent_molecule.metrics.validity import Validity
from anylatent_molecule.modality import MoleculeModality
from anylatent_molecule.molecule import Molecule

CHAINS = [Molecule.of("C" * n + end) for n in range(1, 16) for end in ("O", "N", "Cl")]
BROKEN = Molecule("", written="4 atoms: it falls into 2 parts")


def _evidence(samples: Sequence[Molecule], asked: Sequence[dict] | None = None, cache: Path = Path()) -> Evidence:
    real = Listed(CHAINS)
    return Evidence(MoleculeModality(data=Nci()), samples, asked or [{}] * len(samples), real, real, cache=cache)


def _asked(samples: Sequence[Molecule], off: float = 0.0) -> list[dict]:
    return [{"logp": chemistry.properties(s.mol())["logp"] + off} if s.valid else {"logp": 1.0} for s in samples]


class _MoleculeContract(MetricContract):
    metric: Metric

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> MetricCase:
        samples = [*CHAINS[:20], BROKEN, BROKEN]
        return MetricCase(cls.metric, _evidence(samples, _asked(samples, 0.5)))


class TestValidity(_MoleculeContract):
    metric = Validity()


class TestProperties(_MoleculeContract):
    metric = Properties()


class TestDiversity(_MoleculeContract):
    metric = Diversity()


def test_validity_counts_and_tells_the_commonest_reason() -> None:
    (measure,) = Validity().compute(_evidence([*CHAINS[:30], *[BROKEN] * 10]))
    assert (measure.value, measure.n) == (0.75, 40)
    assert measure.note == "not valid most often: it falls into  parts (10)"


def test_property_error_is_that_of_the_asked_ones_and_the_control_is_of_all_others() -> None:
    """Asked 0.5 off, the error is 0.5; the control is the mean over all pairs of different samples."""
    samples = [*CHAINS, BROKEN]
    error, control = Properties(names=("logp", "qed")).compute(_evidence(samples, _asked(samples, 0.5)))
    assert (error.name, control.name) == ("logp error", "logp error, shuffled")
    assert error.value == pytest.approx(0.5)
    have = torch.tensor([chemistry.properties(s.mol())["logp"] for s in CHAINS])
    pairs = [abs(float(a) - float(b) - 0.5) for i, a in enumerate(have) for j, b in enumerate(have) if i != j]
    assert control.value == pytest.approx(sum(pairs) / len(pairs), rel=1e-5)
    assert error.note == "1 of 46 samples are not valid and are left out"
    assert error.high < control.low


def test_properties_that_nobody_asked_for_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no valid sample was asked for any of logp, qed, weight, rings: add conditions to the recipe"):
        Properties().compute(_evidence(CHAINS))
    with pytest.raises(ValueError, match=r"unknown properties \['tpsa'\]: RDKit computes logp, qed, weight, rings here"):
        Properties(names=("tpsa",)).compute(_evidence(CHAINS, _asked(CHAINS)))
    with pytest.raises(TooFewSamples, match=r"needs at least 10 samples, given 3 valid ones that were asked for 'logp'"):
        Properties().compute(_evidence(CHAINS, [*_asked(CHAINS[:3]), *[{}] * (len(CHAINS) - 3)]))


def test_similarity_is_rdkits() -> None:
    from rdkit.Chem import rdFingerprintGenerator
    from rdkit.DataStructs import TanimotoSimilarity

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    samples = [Molecule.of(text) for text in ("CCO", "CCCO", "c1ccccc1O", "CC(=O)Oc1ccccc1C(=O)O")]
    prints = [generator.GetFingerprint(sample.mol()) for sample in samples]
    expected = torch.tensor([[TanimotoSimilarity(a, b) for b in prints] for a in prints], dtype=torch.float64)
    torch.testing.assert_close(similarities(samples), expected)


def test_copies_are_not_diverse() -> None:
    (same,) = Diversity().compute(_evidence([Molecule.of("CCO")] * 12))
    (various,) = Diversity().compute(_evidence(CHAINS[:12]))
    assert same.value == 0.0
    assert various.value > 0.4
    with pytest.raises(TooFewSamples, match="given 2 valid ones of 12"):
        Diversity().compute(_evidence([*CHAINS[:2], *[BROKEN] * 10]))


def test_the_chemnet_distance_says_how_to_install_its_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(chemnet, "version", absent)
    with pytest.raises(ModuleNotFoundError, match=r"optional package fcd \(LGPL-3\): pip install --no-deps fcd==1.2.2"):
        ChemNetDistance().compute(_evidence(CHAINS * 2))


class _Counting(torch.nn.Module):
    """In the place of ChemNet: how often each letter occurs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(-1)


def test_the_chemnet_distance_is_core_frechet_on_its_features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of valid samples only, with the floor; the features of large sets are computed once."""
    network = (
        pytest.importorskip("fcd", reason="the optional package fcd is not installed") if "fcd" in sys.modules else _fake_fcd(monkeypatch)
    )
    assert network
    samples = [*CHAINS, *CHAINS[:15], BROKEN]
    (measure,) = ChemNetDistance().compute(_evidence(samples, cache=tmp_path))
    assert measure.name == "fcd"
    assert measure.low <= measure.value <= measure.high
    assert measure.floor is not None
    assert "1 of 61 samples are not valid and are left out" in measure.note
    with pytest.raises(ValueError, match=r"sample 0 is no molecule \('4 atoms.*'\): ChemNet reads valid ones only"):
        ChemNet().compute([BROKEN], _evidence(CHAINS))
    with pytest.raises(TooFewSamples, match="given 20 valid ones of 60"):
        ChemNetDistance().compute(_evidence([*CHAINS[:20], *[BROKEN] * 40]))


def _fake_fcd(monkeypatch: pytest.MonkeyPatch):
    from types import ModuleType

    import numpy as np

    module, inner = ModuleType("fcd"), ModuleType("fcd.utils")
    module.load_ref_model = _Counting  # pyright: ignore[reportAttributeAccessIssue]
    letters = "CNOl=()"
    inner.get_one_hot = lambda text, pad: np.pad(np.array([[c == a for a in letters] for c in text], float), ((0, pad - len(text)), (0, 0)))  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "fcd", module)
    monkeypatch.setitem(sys.modules, "fcd.utils", inner)
    monkeypatch.setattr(chemnet, "version", lambda name: "1.2.2")
    return module


def test_features_of_the_reference_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake_fcd(monkeypatch)
    calls = []
    plain = chemnet._activations
    monkeypatch.setattr(chemnet, "_activations", lambda texts: calls.append(len(texts)) or plain(texts))
    many = CHAINS * 30
    first = ChemNet().compute(many, _evidence(CHAINS, cache=tmp_path))
    again = ChemNet().compute(many, _evidence(CHAINS, cache=tmp_path))
    assert torch.equal(first, again)
    assert calls == [len(many)]
    (kept,) = (tmp_path / "chemnet").iterdir()
    kept.write_bytes(b"damaged")
    assert torch.equal(ChemNet().compute(many, _evidence(CHAINS, cache=tmp_path)), first)
    assert len(calls) == 2
