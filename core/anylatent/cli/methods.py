"""`anylatent methods`: what can be named in a recipe, and what it is."""

import re
from difflib import get_close_matches
from typing import Annotated

import typer


def methods(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[FAMILY|KIND|OPTION|PLUGIN|SYSTEM]",
            help="A family (solver), a kind (heun), an option that holds options (annealing), a plugin by its name, or a published system "
            "(RePaint, 2201.09865); nothing: all.",
        ),
    ] = "",
) -> None:
    """List the methods, show one, or find those of a paper.

    Shown are source, options, an example and what it costs. Of a family, and of a published system: core's and every plugin's. Else of
    core, of files given with --plugin, and of the one plugin that is named, or whose kind is (mine.grid): no other is imported.
    """
    from anylatent.catalogue import all_parts, expressing, families, part_told, summary, told
    from anylatent.cli.text import table
    from anylatent.components import core_components
    from anylatent.plugins import NAMESPACE, Plugins

    plugins = Plugins.discover()
    space, _, kind = name.partition(".")
    known = [plugin.namespace for plugin in plugins if plugin.status == "ready"]
    of_plugin = NAMESPACE.fullmatch(space) and re.fullmatch(r"[a-z][\w+-]*", kind)  # not 'SD 1.5', nor '2201.09865v2'
    wanted = {space} if space in known or of_plugin else set()
    whole = name in {*families(core_components()), *(node.family for node in core_components())}
    components = plugins.usable()[0] if whole else plugins.components(sorted({*plugins.files(), *wanted}))
    if name in wanted:
        shown = {name: plugins.load(name)}
    else:
        found = families(components)
        found = found if not name else found | {family: components.of(family) for family in components.families()}
        shown = {family: nodes for family, nodes in found.items() if name in ("", family)}
    if shown:
        print(table((node.family, node.kind, summary(node)) for nodes in shown.values() for node in nodes))
        told_of = {node.family for node in components} - set(shown)
        more = {
            "other families": told_of if not name else (),
            "plugins with more": set() if whole else set(known) - {*plugins.files(), *wanted},
        }
        print("".join(f"\n{what}: {', '.join(sorted(which))}" for what, which in more.items() if which))
        return
    said = [told(node) for node in components if node.kind == name]
    said += [part_told(option, part, owners) for option, (part, owners) in all_parts(components).items() if option == name]
    hits = [] if said else expressing(name, components) or expressing(name, plugins.usable()[0])
    if hits:
        print(table((node.family, node.kind, text) for node, text in hits))
        return
    if not said:
        near = get_close_matches(name, [*components.families(), *known, *(node.kind for node in components)], n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ";"
        raise ValueError(f"there is no method, family or plugin '{name}'{hint} `anylatent methods` lists them all")
    print("\n\n".join(said))
