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
    from anylatent.testing.datasets import DatasetCase, DatasetContract
    from anylatent.testing.editors import EditorCase, EditorContract
    from anylatent.testing.guidance import GuidanceContract
    from anylatent.testing.hooks import HookContract
    from anylatent.testing.metrics import Listed, MetricCase, MetricContract
    from anylatent.testing.modalities import ModalityCase, ModalityContract
    from anylatent.testing.oracles import MixtureOracle
    from anylatent.testing.paths import PathContract
    from anylatent.testing.solvers import SolverContract
    from anylatent.testing.tokenizers import TokenizerCase, TokenizerContract

_HOMES = {
    "BackboneCase": "backbones",
    "BackboneContract": "backbones",
    "ConditionerCase": "conditioners",
    "ConditionerContract": "conditioners",
    "DatasetCase": "datasets",
    "DatasetContract": "datasets",
    "EditorCase": "editors",
    "EditorContract": "editors",
    "GuidanceContract": "guidance",
    "HookContract": "hooks",
    "Listed": "metrics",
    "MetricCase": "metrics",
    "MetricContract": "metrics",
    "MixtureOracle": "oracles",
    "ModalityCase": "modalities",
    "ModalityContract": "modalities",
    "PathContract": "paths",
    "SolverContract": "solvers",
    "TokenizerCase": "tokenizers",
    "TokenizerContract": "tokenizers",
    "difference": "comparing",
    "random_state": "backbones",
    "shaken": "backbones",
    "two_stream_specs": "backbones",
}

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]

if "pytest" in sys.modules:  # failures then show the values that were compared
    sys.modules["pytest"].register_assert_rewrite("anylatent.testing")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"anylatent.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'anylatent.testing' has no attribute '{name}'")
