"""`anylatent recipe`: check, show, schema."""
# ruff: noqa: B006 (typer copies the lists that are defaults)

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from anylatent.plugins import Plugins

app = typer.Typer(help="Check a recipe, show it whole, or print the schema.", no_args_is_help=True)

Source = Annotated[Path, typer.Argument(metavar="RECIPE", show_default=False)]
Overrides = Annotated[list[str], typer.Argument(metavar="[KEY=VALUE]", help="Changes to the recipe: train.steps=100", show_default=False)]


@app.command(no_args_is_help=True)
def check(recipe: Source, overrides: Overrides = []) -> None:
    """Resolve the whole plan without training: data, tokens, parameters, memory, conflicts."""
    from anylatent.recipe import load

    loaded = load(recipe, overrides=overrides)
    from anylatent.plan import make_plan

    plan = make_plan(loaded)
    print(plan)
    if plan.problems:
        raise typer.Exit(1)


@app.command(no_args_is_help=True)
def show(recipe: Source, overrides: Overrides = []) -> None:
    """Print a recipe with all its defaults written out."""
    from anylatent.recipe import dump, load

    print(dump(load(recipe, overrides=overrides)), end="")


def _schema(plugins: "Plugins") -> tuple[str, bool]:
    """The schema as text, and whether it is of all plugins: a broken one is told and left out."""
    from anylatent.recipe import schema as make_schema

    components, problems = plugins.usable()
    for problem in problems:
        typer.echo(f"left out: {problem}", err=True)
    return json.dumps(make_schema(components), indent=1, ensure_ascii=False), not problems


@app.command()
def schema(out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it to this file.", show_default=False)] = None) -> None:
    """The JSON Schema of recipes with the components installed here, for editors."""
    from anylatent.cli.schema_cache import kept
    from anylatent.plugins import Plugins

    plugins = Plugins.discover()
    text = kept(plugins, lambda: _schema(plugins))
    if out is None:
        print(text)
    else:
        from anylatent.files import write_text

        print(write_text(out, text + "\n"))
