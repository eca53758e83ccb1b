"""Plugins: found without being imported, refused by name with the cause, and no trouble to each other."""

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from anylatent import plugins
from anylatent.components import core_components
from anylatent.hookspecs import API_VERSION
from anylatent.plugins import PluginError, Plugins, load_file

TOY = Path(__file__).parent / "toy_plugin.py"

GOOD = """
from anylatent.hookspecs import hookimpl
from anylatent.solvers.base import Solver

anylatent_api = 1

class Still(Solver, kind="{name}.still"):
    "Does not move."

@hookimpl
def anylatent_components():
    return [Still]

@hookimpl
def anylatent_report_section(run):
    return "section of {name}"
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution: an entry point, and a module with this source."""
    monkeypatch.setattr(plugins, "_files", {})
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def installed(name: str, source: str | None = None, value: str = "", distribution: str = "", version: str = "1.0") -> None:
        distribution = distribution or f"test-{name}"
        module = value or f"plugin_{name}"
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[anylatent]\n{name} = {module}\n")
        if source is not None:
            (tmp_path / f"{module.partition(':')[0]}.py").write_text(source)
        importlib.invalidate_caches()

    yield installed
    for name in set(sys.modules) - before:
        if name.startswith(("plugin_", "anylatent_file_")):
            del sys.modules[name]


def found(name: str, **lists) -> plugins.Plugin:
    return Plugins.discover(**lists).find(name)


def test_listing_imports_no_plugin_and_loading_imports_exactly_one(install):
    install("one", GOOD.format(name="one"))
    install("two", GOOD.format(name="two"))
    listed = Plugins.discover()
    assert (found("one").distribution, found("one").version, found("one").status) == ("test-one", "1.0", "ready")
    assert not {"plugin_one", "plugin_two"} & set(sys.modules)
    components = listed.components(["one"])
    assert "plugin_one" in sys.modules
    assert "plugin_two" not in sys.modules
    extra = set(components) - set(core_components())
    assert [node.kind for node in extra] == ["one.still"]
    assert set(core_components()) <= set(components)


def test_hooks_of_loaded_plugins_answer_and_others_do_not(install):
    install("one", GOOD.format(name="one"))
    install("two", GOOD.format(name="two"))
    listed = Plugins.discover()
    listed.load("two")
    assert listed.manager.hook.anylatent_report_section(run=None) == ["section of two"]


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("anylatent_api = 1\nimport no_such_thing", r"ModuleNotFoundError: No module named 'no_such_thing' \(plugin_bad.py, line 2\)"),
        ("anylatent_api = 1\nraise SystemExit('bye')", r"SystemExit: bye \(plugin_bad.py, line 2\)"),
        ("anylatent_api = 1\ndef (", r"SyntaxError: .*plugin_bad.py, line 2"),
        (GOOD.format(name="other"), r"Still is of kind 'other.still': the kinds of this plugin must begin with 'bad.'"),
        (
            GOOD.format(name="bad").replace("[Still]", "[Still, type('Copy', (Still,), {}, kind='bad.still')]"),
            r"two components are named solver 'bad.still'",
        ),
        (GOOD.format(name="bad").replace("[Still]", "[Still()]"), r"must return component classes, given Still\(\)"),
        (GOOD.format(name="bad").replace("[Still]", "[Solver]"), r"Solver is of kind ''"),
        (
            GOOD.format(name="bad").replace("(run)", "(folder)"),
            r"Argument\(s\) \{'folder'\} are declared in the hookimpl but can not be found",
        ),
        (GOOD.format(name="bad").replace("report_section", "report_sektion"), r"unknown hook 'anylatent_report_sektion'"),
        ("anylatent_api = 1", r"it implements no hook: decorate `anylatent_components`"),
    ],
)
def test_a_plugin_that_breaks_is_named_with_its_cause_and_breaks_nothing_else(install, source, cause):
    install("bad", source)
    install("good", GOOD.format(name="good"))
    listed = Plugins.discover()
    assert found("bad").status == "ready", "what is wrong shows only when its code runs"
    with pytest.raises(PluginError, match=rf"^plugin 'bad' \(test-bad 1.0\) is broken: .*{cause}"):
        listed.components(["good", "bad"])
    components, problems = listed.usable()
    assert "good.still" in components.kinds("solver")
    assert [problem for problem in problems if re.search(cause, problem)]
    run = SimpleNamespace(recipe=SimpleNamespace(modality=SimpleNamespace(kind="good")))
    assert listed.manager.hook.anylatent_report_section(run=run).count("section of good") == 1
    assert "section of bad" not in listed.manager.hook.anylatent_report_section(run=run)


@pytest.mark.parametrize(
    ("source", "value", "why"),
    [
        ("raise RuntimeError('was imported')", "", f"does not state the API it was written for: add `anylatent_api = {API_VERSION}`"),
        (
            "raise RuntimeError('was imported')\nanylatent_api: int = 99",
            "",
            f"plugin API 99, this anylatent speaks {API_VERSION}: upgrade anylatent",
        ),
        (
            "raise RuntimeError('was imported')\nanylatent_api = 0",
            "",
            f"plugin API 0, this anylatent speaks {API_VERSION}: upgrade test-old",
        ),
        (None, "", "its module 'plugin_old' is not there: install test-old again"),
        (None, "no_package.deep.inside", "its module 'no_package.deep.inside' is not there"),
        ("raise RuntimeError('was imported')", "plugin_old:attribute", "must name a module, without ':attribute'"),
    ],
)
def test_a_plugin_that_cannot_work_is_refused_before_its_code_runs(install, source, value, why):
    install("old", source, value)
    plugin = found("old")
    assert plugin.status == "broken"
    assert why in plugin.why
    with pytest.raises(PluginError, match=re.escape(f"plugin 'old' (test-old 1.0) is broken: {plugin.why}")):
        Plugins.discover().load("old")
    assert "plugin_old" not in sys.modules


def test_a_namespace_must_be_a_plain_name(install):
    install("Bad.Name", GOOD, value="plugin_named")
    assert found("Bad.Name").why == "its namespace 'Bad.Name' must be small letters, digits, '-' and '_'"


def test_two_distributions_with_one_namespace_are_both_named_until_one_is_blocked(install):
    install("twin", GOOD.format(name="twin"))
    install("twin", None, distribution="test-copy", version="2.0")
    plugin = found("twin")
    assert plugin.status == "broken"
    assert {"test-twin 1.0", "test-copy 2.0"} <= set(re.findall(r"test-\w+ \d\.\d", plugin.why))
    with pytest.raises(PluginError, match="two provide the same namespace"):
        Plugins.discover().load("twin")
    assert [node.kind for node in Plugins.discover(block=["test-copy"]).load("twin")] == ["twin.still"]


def test_lists_from_arguments_and_environment_are_checked_before_import(install, monkeypatch):
    install("one", GOOD.format(name="one"))
    assert found("one", block=["one"]).status == "blocked"
    assert found("one", allow=["other"]).why == "the allow-list (ANYLATENT_PLUGINS) admits only: other"
    assert found("one", allow=["test-one"]).status == "ready"
    monkeypatch.setenv("ANYLATENT_BLOCK", "x, one")
    with pytest.raises(PluginError, match=r"plugin 'one' \(test-one 1.0\) is blocked: the block-list \(ANYLATENT_BLOCK\) names it"):
        Plugins.discover().load("one")
    assert Plugins.discover().usable()[1] == [], "what a person blocked is no problem to tell of"
    monkeypatch.delenv("ANYLATENT_BLOCK")
    monkeypatch.setenv("ANYLATENT_PLUGINS", "")
    assert found("one").why == "the allow-list (ANYLATENT_PLUGINS) admits only: none"
    assert "plugin_one" not in sys.modules


def test_an_unknown_namespace_says_what_would_provide_it(install):
    install("one", GOOD.format(name="one"))
    with pytest.raises(PluginError, match=r"no plugin provides 'ome'; did you mean 'one'?"):
        found("ome")
    with pytest.raises(PluginError, match=r"no installed plugin provides 'zebra': try `pip install anylatent-zebra`, or --plugin FILE"):
        found("zebra")
    with pytest.raises(PluginError, match=r"no installed plugin provides '; rm -rf'$"):
        found("; rm -rf")


def test_a_file_is_a_plugin_of_all_that_it_defines(install):
    plugin = load_file(TOY)
    assert (plugin.namespace, plugin.distribution, plugin.status) == ("toy", str(TOY), "ready")
    assert load_file(TOY) is plugin
    components = Plugins.discover().components(["toy"])
    assert [kind for kind in components.kinds("dataset") if "." in kind] == ["toy.waves"], "besides core's own"
    assert "toy" in components.kinds("modality")


def test_a_file_may_choose_its_components_with_a_hook(install, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(GOOD.format(name="mine") + "\nclass Left(Solver, kind='mine.out'): 'Not given.'")
    load_file(file)
    assert [node.kind for node in Plugins.discover().load("mine")] == ["mine.still"]


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_thing", r"ModuleNotFoundError: .* \(mine.py, line 1\)"),
        ("x = 1", "it defines no component"),
        ("from anylatent.solvers.heun import Heun", "it defines no component"),
        (
            "from anylatent.solvers.base import Solver\nclass A(Solver, kind='plain'): ''",
            "its kinds are 'plain': give them one namespace of their own",
        ),
        (
            "from anylatent.solvers.base import Solver\nclass A(Solver, kind='a.x'): ''\nclass B(Solver, kind='b.x'): ''",
            "its kinds are 'a.x', 'b.x'",
        ),
    ],
)
def test_a_file_that_is_no_plugin_says_why(install, tmp_path, source, cause):
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(PluginError, match=rf"^the plugin file '.*mine.py' is broken: .*{cause}"):
        load_file(tmp_path / "mine.py")
    assert all(plugin.distribution != str(tmp_path / "mine.py") for plugin in Plugins.discover())


def test_only_python_files_are_loaded(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expects a Python file \(.py\), given '.*missing.py', which does not exist"):
        load_file(tmp_path / "missing.py")
    with pytest.raises(FileNotFoundError, match=r"expects a Python file \(.py\), given '.*/test_plugins.txt'"):
        load_file(tmp_path / "test_plugins.txt")


def test_a_file_cannot_take_the_namespace_of_an_installed_plugin(install):
    install("toy", GOOD.format(name="toy"))
    load_file(TOY)
    assert "two provide the same namespace" in found("toy").why
