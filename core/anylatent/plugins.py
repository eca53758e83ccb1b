"""Installed plugins: found without importing them, allowed or blocked, imported one by one when a recipe names them.

A plugin is a distribution with an entry point in the group `anylatent`; the entry point's name is its namespace, its value a
module that states `anylatent_api = 1` and implements hooks of `anylatent.hookspecs`. The statement is read from the module's
source, so that a plugin written for another API is refused before any of its code runs.
"""

import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import blake2b
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from anylatent.hookspecs import API_VERSION

if TYPE_CHECKING:
    import pluggy

    from anylatent.node import Components, Node

GROUP = "anylatent"
NAMESPACE = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_API = re.compile(r"^anylatent_api\s*(?::\s*int\s*)?=\s*(\d+)\b", re.MULTILINE)


class PluginError(ValueError):
    """A plugin cannot be used: its name, and the cause."""


@dataclass(frozen=True)
class Plugin:
    """What is known of a plugin before it is imported. `why`: for a blocked or broken one."""

    namespace: str
    distribution: str
    version: str
    module: str
    status: Literal["ready", "blocked", "broken"] = "ready"
    why: str = ""

    def __str__(self) -> str:
        return f"plugin '{self.namespace}' ({self.distribution} {self.version})".replace(" )", ")")

    def refused(self, why: str, status: Literal["blocked", "broken"] = "broken") -> "Plugin":
        return Plugin(self.namespace, self.distribution, self.version, self.module, status, why)


@dataclass
class Plugins:
    """The plugins of this machine. Only `load` and what calls it import their code, and only of those asked for."""

    found: tuple[Plugin, ...] = ()
    _loaded: "dict[str, list[type[Node]]]" = field(default_factory=dict)
    _manager: "pluggy.PluginManager | None" = None

    @classmethod
    def discover(cls, allow: Iterable[str] | None = None, block: Iterable[str] = ()) -> "Plugins":
        """Every installed plugin and loaded file, by namespace; nothing is imported.

        `allow` (None: all) and `block` hold namespaces or distributions; without them the environment's
        `ANYLATENT_PLUGINS` and `ANYLATENT_BLOCK` count, separated by commas.
        """
        allowed = _listed("ANYLATENT_PLUGINS") if allow is None else set(allow)
        blocked = set(block) or _listed("ANYLATENT_BLOCK") or set()
        candidates = [_admitted(_described(entry), allowed, blocked) for entry in entry_points(group=GROUP)]
        return cls(tuple(_without_clashes([*candidates, *_files.values()])))

    def __iter__(self) -> Iterator[Plugin]:
        return iter(self.found)

    def files(self) -> list[str]:
        """The namespaces of the files that this process was told to load."""
        return [plugin.namespace for plugin in self.found if plugin in _files.values()]

    def find(self, namespace: str) -> Plugin:
        """The plugin of a namespace. Errors: `PluginError` says what would provide it, or what it may be called."""
        for plugin in self.found:
            if plugin.namespace == namespace:
                return plugin
        near = get_close_matches(namespace, [plugin.namespace for plugin in self.found], n=1)
        if near:
            raise PluginError(f"no plugin provides '{namespace}'; did you mean '{near[0]}'?")
        plain = NAMESPACE.fullmatch(namespace)
        advice = f": try `pip install anylatent-{namespace}`, or --plugin FILE if it is a file of yours"
        raise PluginError(f"no installed plugin provides '{namespace[:60]}'{advice if plain else ''}")

    def load(self, namespace: str) -> "list[type[Node]]":
        """The components of one plugin, imported now. Errors: `PluginError` names the plugin and the cause."""
        if namespace not in self._loaded:
            plugin = self.find(namespace)
            if plugin.status != "ready":
                raise PluginError(f"{plugin} is {plugin.status}: {plugin.why}")
            try:
                module = importlib.import_module(plugin.module)
                nodes = _registered(self.manager, namespace, module, whole_file=plugin in _files.values())
            except (Exception, SystemExit) as error:
                raise PluginError(f"{plugin} is broken: {_cause(error, plugin.module.split('.')[0])}") from error
            self._loaded[namespace] = nodes
        return self._loaded[namespace]

    def components(self, namespaces: Iterable[str] = ()) -> "Components":
        """Core's components and those of exactly these plugins. Errors: `PluginError`, as `load`."""
        from anylatent.components import core_components
        from anylatent.node import Components

        components = Components(core_components())
        for namespace in namespaces:
            for node in self.load(namespace):
                components.add(node)
        return components

    def usable(self) -> tuple["Components", list[str]]:
        """The components of core and of every plugin that works, and a line for each that does not."""
        problems: list[str] = []
        working = []
        for plugin in self.found:
            try:
                self.load(plugin.namespace)
                working.append(plugin.namespace)
            except PluginError as error:
                if plugin.status != "blocked":
                    problems.append(str(error))
        return self.components(working), problems

    @property
    def manager(self) -> "pluggy.PluginManager":
        """Calls the hooks of the plugins that are loaded: `plugins.manager.hook.anylatent_report_section(run=run)`."""
        if self._manager is None:
            self._manager = _new_manager()
        return self._manager


_files: dict[Path, Plugin] = {}
"""Files that this process was told to load: `Plugins.discover` finds them like installed plugins."""


def load_file(path: str | Path) -> Plugin:
    """Register a plugin that is one Python file: its components are those of its hook, or else all that it defines.

    Their kinds begin with one namespace of their own (`mine.wavelet`). Errors: `FileNotFoundError`; `PluginError` with the cause.
    """
    path = Path(path).resolve()
    if path in _files:
        return _files[path]
    if not path.is_file() or path.suffix != ".py":
        missing = "" if path.exists() else ", which does not exist"
        raise FileNotFoundError(f"--plugin expects a Python file (.py), given '{path}'{missing}")
    name = f"anylatent_file_{blake2b(str(path).encode(), digest_size=6).hexdigest()}"
    try:
        module = _executed(name, path)
        namespace = _common_namespace(_registered(_new_manager(), "", module, whole_file=True))
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise PluginError(f"the plugin file '{path}' is broken: {_cause(error, path.stem)}") from error
    _files[path] = Plugin(namespace, str(path), "", name)
    return _files[path]


def _listed(variable: str) -> set[str] | None:
    text = os.environ.get(variable)
    return None if text is None else {name.strip() for name in text.split(",") if name.strip()}


def _described(entry: EntryPoint) -> Plugin:
    plugin = Plugin(entry.name, entry.dist.name if entry.dist else "unknown", entry.dist.version if entry.dist else "", entry.module)
    if not NAMESPACE.fullmatch(entry.name):
        return plugin.refused(f"its namespace '{entry.name}' must be small letters, digits, '-' and '_'")
    if entry.attr:
        return plugin.refused(f"its entry point '{entry.value}' must name a module, without ':{entry.attr}'")
    source = _source(entry.module)
    if source is None:
        return plugin.refused(f"its module '{entry.module}' is not there: install {plugin.distribution} again")
    stated = _API.search(source)
    if not stated:
        return plugin.refused(f"its module '{entry.module}' does not state the API it was written for: add `anylatent_api = {API_VERSION}`")
    if int(stated[1]) != API_VERSION:
        older = "anylatent" if int(stated[1]) > API_VERSION else plugin.distribution
        return plugin.refused(f"it was written for plugin API {stated[1]}, this anylatent speaks {API_VERSION}: upgrade {older}")
    return plugin


def _source(module: str) -> str | None:
    """The source text of a module, found without importing it or its parents; None if there is none."""
    top, *rest = module.split(".")
    name, spec = top, importlib.util.find_spec(top)
    for part in rest:
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations) if spec else None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin).read_text(encoding="utf-8", errors="replace")


def _admitted(plugin: Plugin, allow: set[str] | None, block: set[str]) -> Plugin:
    names = {plugin.namespace, plugin.distribution}
    if names & block:
        return plugin.refused("the block-list (ANYLATENT_BLOCK) names it", "blocked")
    if allow is not None and not names & allow:
        return plugin.refused(f"the allow-list (ANYLATENT_PLUGINS) admits only: {', '.join(sorted(allow)) or 'none'}", "blocked")
    return plugin


def _without_clashes(candidates: Iterable[Plugin]) -> Iterator[Plugin]:
    """One plugin a namespace, sorted: several that are not blocked make the namespace unusable."""
    groups: dict[str, list[Plugin]] = {}
    for plugin in candidates:
        groups.setdefault(plugin.namespace, []).append(plugin)
    for _, group in sorted(groups.items()):
        open_ones = [plugin for plugin in group if plugin.status != "blocked"]
        if len(open_ones) > 1:
            names = " and ".join(f"{plugin.distribution} {plugin.version}".strip() for plugin in open_ones)
            yield open_ones[0].refused(f"two provide the same namespace, {names}: uninstall one, or name it in ANYLATENT_BLOCK")
        else:
            yield (open_ones or group)[0]


def _new_manager() -> "pluggy.PluginManager":
    import pluggy

    from anylatent import hookspecs

    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    return manager


def _registered(manager: "pluggy.PluginManager", namespace: str, module: ModuleType, whole_file: bool = False) -> "list[type[Node]]":
    """Register a module's hooks and return its components, checked. Errors: `ValueError`, or whatever the plugin raises."""
    name = namespace or module.__name__
    try:
        manager.register(module, name=name)
        manager.check_pending()
        nodes = _given_components(manager, name)
        if nodes is None and whole_file:
            nodes = _defined(module)
        elif not manager.get_hookcallers(module):
            raise ValueError("it implements no hook: decorate `anylatent_components` with anylatent.hookspecs.hookimpl")
        return _checked(nodes or [], namespace)
    except BaseException:
        manager.unregister(name=name)
        raise


def _given_components(manager: "pluggy.PluginManager", name: str) -> list[Any] | None:
    for implementation in manager.hook.anylatent_components.get_hookimpls():
        if implementation.plugin_name == name:
            given: Any = implementation.function()
            return list(given)
    return None


def _defined(module: ModuleType) -> "list[type[Node]]":
    from anylatent.node import Node

    classes = [item for item in vars(module).values() if isinstance(item, type) and issubclass(item, Node)]
    found = [node for node in classes if node.kind and node.__module__ == module.__name__]
    if not found:
        raise ValueError("it defines no component: a class such as `class Mine(TokenizerConfig, kind='mine.tokens')`")
    return found


def _checked(nodes: list[Any], namespace: str) -> "list[type[Node]]":
    from anylatent.node import Components, Node

    for node in nodes:
        if not (isinstance(node, type) and issubclass(node, Node)):
            raise ValueError(f"`anylatent_components` must return component classes, given {node!r}")
        modality = node.family == "modality" and node.kind == namespace
        if namespace and not modality and not node.kind.startswith(f"{namespace}."):
            raise ValueError(f"{node.__name__} is of kind '{node.kind}': the kinds of this plugin must begin with '{namespace}.'")
    return list(Components(nodes))


def _common_namespace(nodes: "Iterable[type[Node]]") -> str:
    spaces = sorted({node.kind.split(".")[0] if "." in node.kind or node.family == "modality" else "" for node in nodes})
    if len(spaces) != 1 or not NAMESPACE.fullmatch(spaces[0]):
        kinds = ", ".join(repr(node.kind) for node in nodes)
        raise ValueError(f"its kinds are {kinds}: give them one namespace of their own, as in 'mine.tokens'")
    return spaces[0]


def _executed(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks up a class's module by name
    spec.loader.exec_module(module)
    return module


def _cause(error: BaseException, home: str) -> str:
    """What went wrong in a plugin, in one line, and where in its code (a module named `home`, or inside of one)."""
    text = " ".join(str(error).split()) or "no message"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if home in Path(frame.filename).with_suffix("").parts]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}"
