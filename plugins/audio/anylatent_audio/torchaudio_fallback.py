"""torchaudio, also where its compiled library cannot be loaded.

The wheel's library links CUDA: beside a CPU build of torch `import torchaudio` ends in an `OSError`, and so do
transformers, diffusers and others that import it when it is installed. Its transforms and functions are plain torch and
need no library; torchaudio itself has a path without one, which this takes in memory. Nothing on disk is changed.
"""

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_EXTENSION = "torchaudio._extension"


def load() -> ModuleType:
    """The module torchaudio; call it before transformers or diffusers are imported, and as often as you like.

    Without its compiled library (`torchaudio._extension` is then a stand-in that says so) `lfilter` is slower, and
    `forced_align` and the RNN-T loss are missing. Errors: `ImportError` if torchaudio is not installed.
    """
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError as error:
        if error.name != "torchaudio":
            raise
        raise ImportError("anylatent-audio needs torchaudio, which is not installed: pip install torchaudio") from error
    except (ImportError, OSError, RuntimeError):
        _forget()
        sys.modules[_EXTENSION] = _without_library()
        return importlib.import_module("torchaudio")


def _forget() -> None:
    """Drop what the failed import left behind."""
    for name in [name for name in sys.modules if name == "torchaudio" or name.startswith("torchaudio.")]:
        del sys.modules[name]


def _without_library() -> ModuleType:
    """What `torchaudio._extension` is in a build without a library."""
    module: Any = ModuleType(_EXTENSION, "Stands in for torchaudio's compiled library, which cannot be loaded here.")
    module.__spec__ = ModuleSpec(_EXTENSION, None)
    module._IS_TORCHAUDIO_EXT_AVAILABLE = False
    module._IS_ALIGN_AVAILABLE = False
    module._check_cuda_version = lambda: None
    module.fail_if_no_align = _unavailable
    return module


def _unavailable(function: Callable[..., Any]) -> Callable[..., Any]:
    """In the place of a function that needs the library."""

    def refuse(*arguments: object, **named: object) -> None:
        raise RuntimeError(f"{function.__name__} needs torchaudio's compiled library, which cannot be loaded beside this build of torch")

    return refuse
