"""`anylatent methods`: what can be named in a recipe, and what it is."""

from difflib import get_close_matches
from typing import Annotated

import typer


def methods(
    name: Annotated[
        str, typer.Argument(metavar="[FAMILY|KIND|PLUGIN]", help="A family (solver), a kind (heun), or a plugin by its name; nothing: all.")
    ] = "",
) -> None:
    """List the methods, or show one: source, options, an example.

    Of core, of files given with --plugin, and of the one plugin that is named, or whose kind is (mine.grid): no other is imported.
    """
    from anylatent.catalogue import families, summary, told
    from anylatent.cli.text import table
    from anylatent.plugins import Plugins

    plugins = Plugins.discover()
    space, _, _ = name.partition(".")
    known = [plugin.namespace for plugin in plugins if plugin.status == "ready"]
    wanted = {space} if space in known or "." in name else set()
    components = plugins.components(sorted({*plugins.files(), *wanted}))
    if name in wanted:
        shown = {name: plugins.load(name)}
    else:
        found = families(components) if not name else {family: components.of(family) for family in components.families()}
        shown = {family: nodes for family, nodes in found.items() if name in ("", family)}
    if shown:
        print(table((node.family, node.kind, summary(node)) for nodes in shown.values() for node in nodes))
        told_of = {node.family for node in components} - set(shown)
        more = {"other families": told_of if not name else (), "plugins with more": set(known) - {*plugins.files(), *wanted}}
        print("".join(f"\n{what}: {', '.join(sorted(which))}" for what, which in more.items() if which))
        return
    named = [node for node in components if node.kind == name]
    if not named:
        near = get_close_matches(name, [*components.families(), *known, *(node.kind for node in components)], n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ";"
        raise ValueError(f"there is no method, family or plugin '{name}'{hint} `anylatent methods` lists them all")
    print("\n\n".join(told(node) for node in named))
