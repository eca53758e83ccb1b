"""The contracts of data sets, modalities and metrics: good ones hold to them, and each law finds one that breaks it."""

import ast
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from toys import Toy, WaveList, Waves

from anylatent.components import core_components
from anylatent.data import Dataset, Record, Split
from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.distinct import Distinct
from anylatent.metrics.flat import Flat
from anylatent.metrics.frechet import Frechet
from anylatent.metrics.memorisation import Memorisation
from anylatent.metrics.precision_recall import PrecisionRecall
from anylatent.testing import (
    DatasetCase,
    DatasetContract,
    Listed,
    MetricCase,
    MetricContract,
    ModalityCase,
    ModalityContract,
    difference,
)  # fmt: skip

FAULTS_SHOW_AS = (AssertionError, ValueError, OSError, pytest.fail.Exception)


class TestWaves(DatasetContract):
    @pytest.fixture(scope="class", params=[False, True], ids=["even", "ragged"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> DatasetCase:
        data = Waves(ragged=request.param)
        return DatasetCase(data, Toy(data=data), looked_at=20)


SAMPLES = [Waves().build("train")[i].sample for i in range(5)]


class TestToy(ModalityContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        return ModalityCase(Toy(data=Waves()), SAMPLES)


def _vectors(count: int, seed: int, shift: float = 0.0) -> list[torch.Tensor]:
    return list(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)) + shift)


EVIDENCE = Evidence(
    Toy(data=Waves()), _vectors(30, 0, 0.3), [{"label": i} for i in range(30)], Listed(_vectors(80, 1)), Listed(_vectors(40, 2))
)
METRICS = [Distinct(), Frechet(features=Flat()), PrecisionRecall(features=Flat()), Memorisation(features=Flat())]


class TestMetrics(MetricContract):
    @pytest.fixture(scope="class", params=METRICS, ids=lambda metric: metric.kind)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> MetricCase:
        return MetricCase(request.param, EVIDENCE)


# ------------------------------------------------------------------------------------------------- the contracts find faults


class FaultyList(WaveList):
    fault: str

    def __getitem__(self, index: int) -> Record:
        record = super().__getitem__(index % len(self) if self.fault == "past_the_end_is_an_index_error" else index)
        match self.fault:
            case "records_never_change":
                return replace(record, sample=record.sample + torch.rand(()))
            case "conditions_are_data":
                return replace(record, conditions={"label": (1, 2)})
            case "ids_are_names":
                return replace(record, id="the same")
        return record

    def fingerprint(self) -> str:
        return "the same" if self.fault == "splits_differ" else super().fingerprint()


class FaultyWaves(Waves, kind="toy.faulty"):
    fault: str

    def build(self, split: Split) -> Dataset:
        made = FaultyList(self, "train" if self.fault == "no_sample_is_in_both_splits" else split)
        made.fault = self.fault
        if self.fault == "it_says_what_it_is":
            made.problems = ("",)
        return made


def laws(contract: type) -> list[str]:
    return sorted(name.removeprefix("test_") for name in vars(contract) if name.startswith("test_"))


@pytest.mark.parametrize("law", laws(DatasetContract))
def test_each_law_finds_a_data_set_that_breaks_it(law: str) -> None:
    config = FaultyWaves(fault=law)
    given = {"case": DatasetCase(config, Toy(data=config)), "splits": (config.build("train"), config.build("test"))}
    method = getattr(DatasetContract(), f"test_{law}")
    with pytest.raises(FAULTS_SHOW_AS):
        method(**{name: given[name] for name in signature(method).parameters})


class FaultyToy(Toy, kind="toy-faulty"):
    fault: str

    @property
    def sample(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "two\nlines" if self.fault == "it_says_what_a_sample_is" else "a line"

    def identity(self, sample: torch.Tensor) -> str:
        return f"{id(sample)}" if self.fault == "identity_tells_samples_apart" else super().identity(sample)

    def sheet(self, samples: Sequence[torch.Tensor], captions: Sequence[str] = ()) -> bytes:
        blank = self.fault == "the_sheet_is_a_picture_of_the_samples"
        return super().sheet([torch.zeros(1, 1) for _ in samples] if blank else samples, captions)

    def write(self, samples: Sequence[torch.Tensor], folder):
        match self.fault:
            case "written_is_read":
                return super().write([sample + 1 for sample in samples], folder)
            case "all_samples_are_written":
                return super().write(samples[:1], folder)
        return super().write(samples, folder)

    def read(self, path):
        if self.fault == "a_file_that_is_no_sample_is_named" and path.name == "nonsense.json":
            raise ValueError("a file is no wave")
        return super().read(path)


@pytest.mark.parametrize("law", laws(ModalityContract))
def test_each_law_finds_a_modality_that_breaks_it(law: str, tmp_path) -> None:
    given = {"case": ModalityCase(FaultyToy(data=Waves(), fault=law), SAMPLES), "tmp_path": tmp_path}
    method = getattr(ModalityContract(), f"test_{law}")
    with pytest.raises(FAULTS_SHOW_AS):
        method(**{name: given[name] for name in signature(method).parameters})


class FaultyMetric(Metric, kind="test-faulty-metric"):
    fault: str

    def compute(self, evidence: Evidence) -> list[Measure]:
        samples = torch.stack(list(evidence.samples))
        value = float(samples.mean())
        match self.fault:
            case "it_is_deterministic":
                value += float(torch.rand(()))
            case "the_order_of_samples_does_not_matter":
                value = float(samples[0].mean())
            case "it_says_if_it_asks_the_denoiser":
                value += 0.0 if evidence.model is None else 1.0
        high = value - 1 if self.fault == "values_are_inside_their_intervals" else value + 1
        return [Measure("mean", value, value - 1, high, len(samples), "neither")]


@pytest.mark.parametrize("law", laws(MetricContract))
def test_each_law_finds_a_metric_that_breaks_it(law: str) -> None:
    case = MetricCase(FaultyMetric(fault=law), replace(EVIDENCE, model=cast(Any, "a denoiser")))
    given = {"case": case, "measures": case.metric.compute(case.evidence)}
    method = getattr(MetricContract(), f"test_{law}")
    with pytest.raises(FAULTS_SHOW_AS):
        method(**{name: given[name] for name in signature(method).parameters})


# ------------------------------------------------------------------------------------------- every component is held to a contract

CONTRACTS: dict[str, tuple[str, ...]] = {
    "modality": ("ModalityContract",),
    "dataset": ("DatasetContract",),
    "tokenizer": ("TokenizerContract",),
    "conditioner": ("ConditionerContract",),
    "denoiser": ("BackboneContract",),
    "path": ("PathContract", "DiscretePathContract"),
    "times": ("TimeDensityContract",),
    "weighting": ("WeightingContract",),
    "loss": ("LossContract",),
    "coupling": ("CouplingContract",),
    "schedule": ("ScheduleContract",),
    "solver": ("SolverContract", "DiscreteSolverContract"),
    "guidance": ("GuidanceContract",),
    "rule": ("GuidanceContract",),  # by a guidance that uses it
    "hook": ("HookContract",),
    "correction": ("CorrectionContract",),
    "measurement": ("MeasurementContract",),
    "energy": ("EnergyContract", "SampleEnergyContract"),
    "editor": ("EditorContract", "EditingContract"),
    "metric": ("MetricContract",),
}
NO_CONTRACT = {
    "method": "there is one, which training itself is the test of",
    "features": "networks of metrics, which are held to theirs with them",
}
DEFAULTS = {"LinearRule": "the rule of every guidance that is tried without naming one"}


def _under_contract() -> dict[str, set[str]]:
    """By contract: all names that a test class of it uses, itself or by what it uses of its file (cases, fixtures, helpers)."""
    found: dict[str, set[str]] = {}
    for path in sorted(Path(__file__).parents[1].rglob("test_*.py")):
        body = ast.parse(path.read_text()).body
        own: dict[str, ast.stmt] = {}
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own[node.name] = node
            for target in node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []:
                if isinstance(target, ast.Name):
                    own[target.id] = node
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                for contract in _bases(node, own):
                    found.setdefault(contract, set()).update(_used(node, own))
    return found


def _bases(node: ast.ClassDef, own: dict[str, ast.stmt]) -> set[str]:
    names = {base.id for base in node.bases if isinstance(base, ast.Name)}
    return names.union(*(_bases(each, own) for name in names if isinstance(each := own.get(name), ast.ClassDef)))


def _used(node: ast.stmt, own: dict[str, ast.stmt]) -> set[str]:
    seen: set[str] = set()
    left = [node]
    while left:
        fresh = {each.id for each in ast.walk(left.pop()) if isinstance(each, ast.Name)} - seen
        seen |= fresh
        left += [own[name] for name in fresh & own.keys()]
    return seen


def test_every_component_is_held_to_its_familys_contract() -> None:
    """A component that is registered and in no test class of its contract is found here."""
    tried = _under_contract()
    components = core_components()
    assert {node.family for node in components} == CONTRACTS.keys() | NO_CONTRACT.keys(), "a new family needs a contract, or a reason"
    missing = [
        f"{node.family} {node.kind} ({node.__name__}) is in no test class of {' or '.join(CONTRACTS[node.family])}"
        for node in components
        if node.family in CONTRACTS
        and node.__name__ not in DEFAULTS
        and not any(node.__name__ in tried.get(contract, ()) for contract in CONTRACTS[node.family])
    ]
    assert not missing, "\n".join(missing)


def test_a_component_in_no_contract_is_found() -> None:
    tried = _under_contract()
    assert "Distinct" in tried["MetricContract"]
    assert "Distinct" not in tried["SolverContract"]
    assert not any("Faulty" in names for names in tried.values()), "what is only tried elsewhere does not count"


# ---------------------------------------------------------------------------------------------------------- and the kit itself


@pytest.mark.parametrize(
    ("a", "b", "where"),
    [
        (torch.ones(2), torch.ones(3), "float32 (2,) and torch.float32 (3,)"),
        (torch.ones(2), torch.tensor([1.0, 1.2]), "0.2 apart, 0.1 allowed"),
        (torch.ones(2, dtype=torch.int64), torch.tensor([1, 2]), "1 of 2 numbers differ"),
        (1, 1.0, "an int and a float".replace("an ", "a ")),
        ({"a": 1}, {"b": 1}, "keys ['a'] and ['b']"),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.5]}, "['a'][1]: 2.0 and 2.5"),
        ([1], [1, 2], "1 and 2 items"),
        (Record(torch.zeros(1), {}, "x"), Record(torch.zeros(1), {}, "y"), ".id: 'x' and 'y'"),
    ],
)
def test_a_difference_is_said_with_its_place(a: Any, b: Any, where: str) -> None:
    assert where in difference(a, b, 0.1)
    assert not difference(a, a, 0.1)


def test_numbers_may_differ_by_the_tolerance_alone() -> None:
    assert not difference([1.0, torch.ones(2)], [1.05, torch.full((2,), 1.05)], 0.1)
    assert difference([1.0], [1.05], 0.0)
    assert not difference(float("nan"), float("nan"))


def test_the_kit_is_imported_without_torch_or_pytest() -> None:
    code = (
        "import sys, anylatent.testing as kit; assert 'TokenizerContract' in kit.__all__; assert not {'torch', 'pytest'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_of_the_kit_is_there() -> None:
    import anylatent.testing as kit

    for name in kit.__all__:
        assert getattr(kit, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        kit.Nothing  # noqa: B018
