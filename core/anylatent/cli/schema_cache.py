"""The JSON Schema of recipes, kept between calls: editors ask for it often, and making it imports every component."""

import json
import os
from collections.abc import Callable, Iterator
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

from anylatent.files import cache_folder, write_text
from anylatent.plugins import Plugins


def kept(plugins: Plugins, make: Callable[[], tuple[str, bool]]) -> str:
    """The schema of these plugins' components: from the cache while no file of core or of a plugin has changed, else made.

    `make` returns the text and whether it is whole: only then it is kept. Where the cache cannot be written, it is made each time.
    """
    folder = cache_folder() / "schema"
    path = folder / f"{_state(plugins)}.json"
    if path.is_file():
        return path.read_text()
    text, whole = make()
    if not whole:
        return text
    try:
        for old in folder.glob("*.json"):
            old.unlink(missing_ok=True)
        write_text(path, text)
    except OSError:
        pass
    return text


def _state(plugins: Plugins) -> str:
    """A digest of every source file that a component could be in: its path, size and time."""
    listing = [(plugin.namespace, plugin.status, plugin.version) for plugin in plugins]
    digest = blake2b(json.dumps(listing).encode(), digest_size=16)
    for root in sorted({str(Path(__file__).parents[1]), *_homes(plugins)}):
        for file, size, changed in _sources(root):
            digest.update(f"{file} {size} {changed}\n".encode())
    return digest.hexdigest()


def _homes(plugins: Plugins) -> Iterator[str]:
    for plugin in plugins:
        spec = find_spec(plugin.module.split(".")[0]) if plugin.status == "ready" else None
        if spec is not None and spec.origin is not None:
            yield str(Path(spec.origin).parent)


def _sources(root: str) -> Iterator[tuple[str, int, int]]:
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                stat = Path(folder, name).stat()
                yield f"{folder}/{name}", stat.st_size, stat.st_mtime_ns
