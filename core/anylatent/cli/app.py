"""The commands, put together."""
# ruff: noqa: B006 (typer copies the lists that are defaults)

from pathlib import Path
from typing import Annotated

import typer

from anylatent.cli import data, directions, judging, methods, plugin_list, recipes, runs

# Plain help: rich's would take longer to import than all the rest.
PLAIN = {"rich_markup_mode": None, "pretty_exceptions_enable": False, "no_args_is_help": True}

app = typer.Typer(help="One latent-diffusion engine for every modality: recipes in, samples out.", add_completion=False, **PLAIN)
app.add_typer(recipes.app, name="recipe")
app.add_typer(data.app, name="data")
app.add_typer(plugin_list.app, name="plugins")
for command in (
    runs.run,
    runs.train,
    runs.sample,
    runs.edit,
    runs.evaluate,
    judging.judge,
    runs.schedule,
    runs.solver,
    directions.direction,
    runs.report,
):
    app.command(no_args_is_help=True)(command)
app.command()(methods.methods)


def _tell_version(asked: bool) -> None:
    if asked:
        import anylatent

        print(f"anylatent {anylatent.__version__}")
        raise typer.Exit


@app.callback()
def _globally(
    plugin: Annotated[list[Path], typer.Option(metavar="FILE", help="A Python file with components of yours; repeatable.")] = [],
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    if plugin:
        from anylatent.plugins import load_file

        for path in plugin:
            load_file(path)


@app.command()
def doctor() -> None:
    """What this machine offers: versions, threads, GPU, plugins."""
    from anylatent.cli.text import table
    from anylatent.doctor import examine

    facts, problems = examine()
    print(table(facts))
    for problem in problems:
        print(f"problem: {problem}")
    if problems:
        raise typer.Exit(1)
