"""`anylatent plugins`: what is installed, and why something does not work."""

from typing import Annotated

import typer

app = typer.Typer(help="List the installed plugins, or look into one.", invoke_without_command=True)


@app.callback()
def list_plugins(context: typer.Context) -> None:
    """List the installed plugins, without importing them; `info` looks into one."""
    if context.invoked_subcommand:
        return
    from anylatent.cli.text import table
    from anylatent.plugins import Plugins

    found = Plugins.discover()
    rows = [(plugin.namespace, plugin.distribution, plugin.version, plugin.status, plugin.why) for plugin in found]
    print(table([row if row[-1] else row[:-1] for row in rows]) or "no plugin is installed; each modality is a package, anylatent-NAME")


@app.command(no_args_is_help=True)
def info(namespace: Annotated[str, typer.Argument(metavar="NAME", help="A plugin's namespace, as `anylatent plugins` lists it.")]) -> None:
    """Import one plugin and list its components; if it does not work, say why."""
    from anylatent.cli.text import table
    from anylatent.plugins import Plugins

    plugins = Plugins.discover()
    nodes = plugins.load(namespace)
    print(plugins.find(namespace))
    print(table((f"  {node.family}", node.kind, (node.__doc__ or "").strip().split("\n")[0]) for node in nodes))
