"""What components there are, told from the components themselves: the command `methods` and the page of the docs."""

import inspect
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

from pydantic_core import PydanticUndefined

from anylatent.node import Node, Spec

METHODS = (
    "path", "times", "weighting", "loss", "coupling", "method", "schedule", "solver", "guidance", "rule", "hook", "correction", "energy",
    "measurement", "editor",
)  # fmt: skip
"""The families that are written once for every modality, in the order of the page."""

_PAPER = re.compile(r"\b\d{4}\.\d{4,5}\b")


def summary(node: type[Node]) -> str:
    """Its docstring's first sentence or line, without a full stop."""
    text = inspect.getdoc(node) or ""
    return text.split("\n\n")[0].split("\n")[0].rstrip(".")


def papers(node: type[Node]) -> list[str]:
    """The arXiv ids that its docstring names, in order."""
    return list(dict.fromkeys(_PAPER.findall(inspect.getdoc(node) or "")))


def options(node: type[Node]) -> list[tuple[str, str, str]]:
    """Name, default (as in a recipe; empty if it must be given) and description of each field."""
    return [
        (name, _default(field.get_default(call_default_factory=True)), field.description or "") for name, field in node.model_fields.items()
    ]


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return ""
    return f"{{kind: {value.kind}}}" if isinstance(value, Node) and value.kind else in_line(value)


def in_line(value: Any) -> str:
    """A value as one writes it in a recipe, on one line."""
    if isinstance(value, Spec):
        value = value.model_dump(mode="json")
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {in_line(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(in_line(inner) for inner in value) + "]"
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w.+/-]+", value) and not re.fullmatch(r"[\d.]+|true|false|null", value) else json.dumps(value)
    return json.dumps(value)


def example(node: type[Node]) -> str:
    """The node of one at work, as in a recipe."""
    return in_line({"kind": node.kind, **node.example})


def told(node: type[Node]) -> str:
    """All that is to be said of a component, for a terminal."""
    lines = [f"{node.family} {node.kind}", "", inspect.getdoc(node) or "", "", f"example: {example(node)}"]
    if node.neutral is not None:
        lines.append(f"changes nothing with: {in_line(dict(node.neutral))}")
    if node.systems:
        lines.append(f"expresses: {', '.join(node.systems)}")
    if fields := options(node):
        width = max(len(name) for name, _, _ in fields)
        lines += ["", *(f"  {name:<{width}}  {text}{f' [{default}]' if default else ' (must be given)'}" for name, default, text in fields)]
    return "\n".join(lines)


def page(nodes: Sequence[type[Node]]) -> str:
    """The catalogue of methods in Markdown."""
    lines = [
        "# Catalogue of methods",
        "",
        "Made from the components themselves by `python tests/catalogue.py`; `anylatent methods KIND` shows one whole. *Neutral* settings",
        "change nothing, bit for bit, which a test tries for each. What works with what: [compatibility.md](../compatibility.md).",
    ]
    for family, own in families(nodes).items():
        lines += ["", f"## {family}", "", "| kind | what it is | options | neutral | papers | expresses |", "|---|---|---|---|---|---|"]
        lines += [_row(node) for node in own]
    return "\n".join(lines) + "\n"


def _row(node: type[Node]) -> str:
    named = ", ".join(f"`{name}`" + (f" = {default}" if default and len(default) < 24 else "") for name, default, _ in options(node))
    neutral = "" if node.neutral is None else f"`{in_line(dict(node.neutral))}`"
    links = ", ".join(f"[{paper}](https://arxiv.org/abs/{paper})" for paper in papers(node))
    cells = (f"`{node.kind}`", summary(node), named, neutral, links, ", ".join(node.systems))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def families(nodes: Iterable[type[Node]]) -> dict[str, list[type[Node]]]:
    """The methods among the components, by family, in the order of the page."""
    found = {family: sorted((node for node in nodes if node.family == family), key=lambda node: node.kind) for family in METHODS}
    return {family: own for family, own in found.items() if own}
