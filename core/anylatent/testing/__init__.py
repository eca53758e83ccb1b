"""The contracts as tests, and denoisers that are known exactly: what an author of a component tests it with.

    from anylatent.testing import TokenizerCase, TokenizerContract

    class TestMine(TokenizerContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            return TokenizerCase(MyConfig(), samples=[...], bad=["no sample"])

Names are imported when they are first used: `import anylatent.testing` imports neither torch nor pytest.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anylatent.testing.backbones import BackboneCase, BackboneContract, random_state, shaken, two_stream_specs
    from anylatent.testing.comparing import difference
    from anylatent.testing.conditioners import ConditionerCase, ConditionerContract
    from anylatent.testing.corrections import CorrectionCase, CorrectionContract, Posterior, exact_prediction, posterior
    from anylatent.testing.datasets import DatasetCase, DatasetContract
    from anylatent.testing.discrete import DiscretePathContract, DiscreteSolverContract
    from anylatent.testing.editors import EditingCase, EditingContract, EditorCase, EditorContract
    from anylatent.testing.energies import EnergyCase, EnergyContract, SampleEnergyCase, SampleEnergyContract
    from anylatent.testing.guidance import GuidanceContract, GuidedTransformer, here_at
    from anylatent.testing.hooks import HookContract
    from anylatent.testing.measurements import MeasurementCase, MeasurementContract
    from anylatent.testing.metrics import Listed, MetricCase, MetricContract
    from anylatent.testing.modalities import ModalityCase, ModalityContract
    from anylatent.testing.objectives import CouplingContract, LossContract, TimeDensityContract, WeightingContract
    from anylatent.testing.oracles import MixtureOracle
    from anylatent.testing.paths import PathContract
    from anylatent.testing.schedules import ScheduleContract
    from anylatent.testing.solvers import SolverContract
    from anylatent.testing.tokenizers import TokenizerCase, TokenizerContract

__all__ = [
    "BackboneCase",
    "BackboneContract",
    "ConditionerCase",
    "ConditionerContract",
    "CorrectionCase",
    "CorrectionContract",
    "CouplingContract",
    "DatasetCase",
    "DatasetContract",
    "DiscretePathContract",
    "DiscreteSolverContract",
    "EditingCase",
    "EditingContract",
    "EditorCase",
    "EditorContract",
    "EnergyCase",
    "EnergyContract",
    "GuidanceContract",
    "GuidedTransformer",
    "HookContract",
    "Listed",
    "LossContract",
    "MeasurementCase",
    "MeasurementContract",
    "MetricCase",
    "MetricContract",
    "MixtureOracle",
    "ModalityCase",
    "ModalityContract",
    "PathContract",
    "Posterior",
    "SampleEnergyCase",
    "SampleEnergyContract",
    "ScheduleContract",
    "SolverContract",
    "TimeDensityContract",
    "TokenizerCase",
    "TokenizerContract",
    "WeightingContract",
    "difference",
    "exact_prediction",
    "here_at",
    "posterior",
    "random_state",
    "shaken",
    "two_stream_specs",
]

_ROOMS = {
    "editors": ("EditingCase", "EditingContract", "EditorCase", "EditorContract"),
    "energies": ("EnergyCase", "EnergyContract", "SampleEnergyCase", "SampleEnergyContract"),
    "measurements": ("MeasurementCase", "MeasurementContract"),
    "corrections": ("CorrectionCase", "CorrectionContract", "Posterior", "exact_prediction", "posterior"),
    "discrete": ("DiscretePathContract", "DiscreteSolverContract"),
    "objectives": ("CouplingContract", "LossContract", "TimeDensityContract", "WeightingContract"),
    "schedules": ("ScheduleContract",),
    "backbones": ("BackboneCase", "BackboneContract", "random_state", "shaken", "two_stream_specs"),
    "comparing": ("difference",),
    "conditioners": ("ConditionerCase", "ConditionerContract"),
    "datasets": ("DatasetCase", "DatasetContract"),
    "guidance": ("GuidanceContract", "GuidedTransformer", "here_at"),
    "hooks": ("HookContract",),
    "metrics": ("Listed", "MetricCase", "MetricContract"),
    "modalities": ("ModalityCase", "ModalityContract"),
    "oracles": ("MixtureOracle",),
    "paths": ("PathContract",),
    "solvers": ("SolverContract",),
    "tokenizers": ("TokenizerCase", "TokenizerContract"),
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}

if "pytest" in sys.modules:  # failures then show the values that were compared
    sys.modules["pytest"].register_assert_rewrite(*(f"{__name__}.{room}" for room in _ROOMS))


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"anylatent.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'anylatent.testing' has no attribute '{name}'")
