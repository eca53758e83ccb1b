"""`anylatent methods`: what can be named in a recipe, and what it is."""

from difflib import get_close_matches
from typing import Annotated

import typer


def methods(
    kind: Annotated[str, typer.Argument(metavar="[FAMILY|KIND]", help="A family (solver), or a kind (heun); nothing: all.")] = "",
) -> None:
    """List the methods, or show one: source, options, an example."""
    from anylatent.catalogue import families, summary, told
    from anylatent.cli.text import table
    from anylatent.components import core_components

    found = families(core_components())
    shown = {family: nodes for family, nodes in found.items() if kind in ("", family)}
    if shown:
        print(table((family, node.kind, summary(node)) for family, nodes in shown.items() for node in nodes))
        return
    named = [node for nodes in found.values() for node in nodes if node.kind == kind]
    if not named:
        near = get_close_matches(kind, [*found, *(node.kind for nodes in found.values() for node in nodes)], n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"there is no method or family '{kind}'{hint} `anylatent methods` lists them all")
    print("\n\n".join(told(node) for node in named))
