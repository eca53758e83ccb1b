"""anylatent: one latent-diffusion engine for every modality.

    run = anylatent.load("runs/digits")
    made = run.sample(64, condition={"label": 3}, seed=0)

Names are imported when they are first used: `import anylatent` imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anylatent.execution import execute
    from anylatent.hookspecs import hookimpl
    from anylatent.recipe import load as load_recipe
    from anylatent.run import Run, Samples
    from anylatent.spec import AxisSpec, StreamSpec
    from anylatent.state import State, Stream
    from anylatent.tokenizers.base import Tokenizer
    from anylatent.tokenizers.config import TokenizerConfig

__version__ = "0.1.0"

_HOMES = {
    "AxisSpec": "anylatent.spec",
    "Run": "anylatent.run",
    "Samples": "anylatent.run",
    "State": "anylatent.state",
    "Stream": "anylatent.state",
    "StreamSpec": "anylatent.spec",
    "Tokenizer": "anylatent.tokenizers.base",
    "TokenizerConfig": "anylatent.tokenizers.config",
    "execute": "anylatent.execution",
    "hookimpl": "anylatent.hookspecs",
}

__all__ = [
    "AxisSpec",
    "Run",
    "Samples",
    "State",
    "Stream",
    "StreamSpec",
    "Tokenizer",
    "TokenizerConfig",
    "execute",
    "hookimpl",
    "load",
    "load_recipe",
]


def load(folder: Any, plugins: Any = None) -> "Run":
    """The run in a folder. Errors: `FileNotFoundError` if there is none; `RecipeError` if its recipe cannot be read."""
    return import_module("anylatent.run").Run.open(folder, plugins)


def __getattr__(name: str) -> Any:
    if name == "load_recipe":
        return import_module("anylatent.recipe").load
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'anylatent' has no attribute '{name}'")
