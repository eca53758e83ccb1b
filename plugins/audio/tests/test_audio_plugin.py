"""What the plugin offers, that describing it costs nothing, and that torchaudio is there whatever its library does."""

import importlib
import importlib.util
import subprocess
import sys

import pytest
import torch

from anylatent.node import Components
from anylatent_audio import anylatent_components
from anylatent_audio.torchaudio_fallback import load


def test_every_kind_is_in_the_namespace() -> None:
    components = Components(anylatent_components())
    assert components.kinds("modality") == ["audio"]
    assert all(node.kind == "audio" or node.kind.startswith("audio.") for node in components)
    assert components.kinds("dataset") == ["audio.folder", "audio.notes", "audio.speech", "audio.struck"]
    assert components.kinds("tokenizer") == ["audio.mel", "audio.waveform"]


def test_describing_imports_nothing_heavy() -> None:
    """Recipes are read, and data sets listed, without torch, numpy or what reads files."""
    code = (
        "import sys, anylatent_audio\n"
        "anylatent_audio.anylatent_components()\n"
        "from anylatent_audio.notes import Notes; Notes(instruments=['flute'])\n"
        "print({'torch', 'torchaudio', 'numpy', 'soundfile', 'pretty_midi', 'matplotlib'} & set(sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


def test_torchaudio_is_loaded_once() -> None:
    assert load() is load() is importlib.import_module("torchaudio")
    tone = torch.sin(torch.arange(800) * 0.05)
    assert load().functional.resample(tone, 16000, 8000).shape == (400,)


def test_a_broken_library_does_not_matter() -> None:
    """In a process of its own: transforms work, what needs the library says so, and others may import torchaudio too."""
    code = (
        "import ctypes, torch\n"
        "def broken(path): raise OSError('libc10_cuda.so: cannot open shared object file')\n"
        "torch.ops.load_library = broken\n"
        "from anylatent_audio.torchaudio_fallback import load\n"
        "module = load(); assert module is load()\n"
        "import torchaudio, torchaudio.transforms\n"
        "assert torchaudio is module\n"
        "assert torchaudio.transforms.MelSpectrogram(n_mels=20)(torch.randn(4000)).isfinite().all()\n"
        "try: torchaudio.functional.forced_align(torch.zeros(1, 2, 2), torch.zeros(1, 1))\n"
        "except RuntimeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", code], capture_output=True, text=True, check=True)
    assert "forced_align needs torchaudio's compiled library" in done.stdout


def test_without_torchaudio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ImportError, match="needs torchaudio, which is not installed: pip install torchaudio"):
        load()
