"""The hooks that a plugin may implement. Few, and only where many plugins answer; nothing here runs in the loop."""

import pluggy

from anylatent.node import Node

hookspec = pluggy.HookspecMarker("anylatent")
hookimpl = pluggy.HookimplMarker("anylatent")

API_VERSION = 1
"""Raised when a contract changes so that plugins must. A plugin module states the one it was written for: `anylatent_api = 1`."""


@hookspec
def anylatent_components() -> list[type[Node]]:  # pyright: ignore[reportReturnType]
    """The component classes of a plugin. Their kinds begin with its namespace (`mine.grid`); its modality's is the namespace itself."""


@hookspec
def anylatent_report_section(run: object) -> tuple[str, str] | None:
    """A title and HTML to add to a run's report, or None. `run` is an `anylatent.run.Run`."""
