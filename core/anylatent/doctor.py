"""What this machine offers, and what is wrong with it."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

Fact = tuple[str, str]


def examine() -> tuple[list[Fact], list[str]]:
    """Facts by name, and problems in words: versions, processor, GPU, kernels, plugins (imported to see that they work), cache."""
    facts, problems = _plugins()
    cache, more = _cache()
    return [*_versions(), *_torch(), *facts, *cache], problems + more


def _versions() -> list[Fact]:
    packages = ("anylatent", "torch", "numpy", "accelerate", "pydantic", "safetensors")
    return [
        ("python", f"{platform.python_version()} ({sys.executable})"),
        ("platform", platform.platform()),
        *((name, version(name)) for name in packages),
    ]


def _torch() -> list[Fact]:
    import torch

    from anylatent.nn.kernels import linear_kernel

    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        ("cores", f"{os.cpu_count()}; torch computes on {torch.get_num_threads()} (OMP_NUM_THREADS changes it)"),
        ("GPU", ", ".join(f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus) or "none"),
        ("bfloat16", _bfloat16(torch)),
        ("matrix products", f"{linear_kernel()} (ANYLATENT_KERNELS changes it)"),
    ]


def _bfloat16(torch) -> str:
    if torch.cuda.is_available():
        return "fast on the GPU" if torch.cuda.is_bf16_supported() else "not on this GPU"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "fast on this processor" if fast else "slow on this processor: training stays in float32"


def _plugins() -> tuple[list[Fact], list[str]]:
    from anylatent.plugins import Plugins

    plugins = Plugins.discover()
    _, problems = plugins.usable()
    facts = [("plugin", f"{found.namespace}: {found.distribution} {found.version}".strip() + _state(found.status)) for found in plugins]
    return facts or [("plugin", "none installed")], problems


def _state(status: str) -> str:
    return "" if status == "ready" else f" ({status})"


def _cache() -> tuple[list[Fact], list[str]]:
    from anylatent.data import cache_folder

    folder = cache_folder()
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    problems = [] if os.access(there, os.W_OK) else [f"the cache folder {folder} cannot be written: set ANYLATENT_CACHE to one that can"]
    return [("cache", f"{folder}, {size(_bytes(folder))}")], problems


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def size(count: float) -> str:
    """Bytes, in the unit that reads best."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
