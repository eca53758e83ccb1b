"""What components there are, told from the components themselves: the command `methods` and the page of the docs."""

import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic_core import PydanticUndefined

from anylatent.node import Node, Spec
from anylatent.sampling import Sampling

METHODS = (
    "path", "times", "weighting", "loss", "coupling", "method", "schedule", "solver", "guidance", "rule", "hook", "correction", "energy",
    "measurement", "editor",
)  # fmt: skip
"""The families that are written once for every modality, in the order of the page."""

PERCEPTION = ("likelihood", "diffusion-classifier", "probe")
"""Metrics that ask the denoiser what it knows of given samples: methods too."""

UNITS = {
    "a sample": ("schedule", "editor", "perception"),
    "a step, beyond one call": ("solver",),
    "a question that the solver asks": ("guidance", "rule", "hook", "correction", "energy", "measurement"),
    "times what a sample costs": ("option",),
}
"""What `Node.costs` are counted for, of the families that have any."""

QUANTITIES = {
    "seen": "windows that a sample is seen through",
    "steps": "questions that a sample's solver asks",
    "again": "steps that are made once more, as the schedule or `resample` rises",
    "blocks": "blocks that an axis is cut into",
    "classes": "classes to tell apart",
    "needed": "no fixed number",
}
"""What expressions of `Node.costs` name besides the options of the method."""

NO_NEUTRAL = {
    "one of each is always at work": ("path", "times", "schedule", "solver", "method"),
    "its family's plain kind (`none`, `independent`, `squared`) is the neutral one, and this one differs from it in every setting": (
        "weighting", "coupling", "loss",
    ),
    "it is off only where it is left out": ("guidance", "rule", "hook", "correction", "option"),
    "it is there to measure, wish, edit or judge": ("measurement", "energy", "editor", "perception"),
}  # fmt: skip
"""Why methods of some families have no neutral setting."""

_PAPER = re.compile(r"\b\d{4}\.\d{4,5}\b")
_AS_CITED = re.compile(r"(?:arxiv:\s*)?(\d{4}\.\d{4,5})(?:v\d+)?", re.IGNORECASE)
"""An arXiv id as one copies it: `2201.09865v2`, `arXiv:2201.09865`."""


def summary(node: type[Spec]) -> str:
    """Its docstring's first sentence or line, without a full stop."""
    text = inspect.getdoc(node) or ""
    return text.split("\n\n")[0].split("\n")[0].rstrip(".")


def papers(node: type[Spec]) -> list[str]:
    """The arXiv ids that its docstring names, in order."""
    return list(dict.fromkeys(_PAPER.findall(inspect.getdoc(node) or "")))


def options(node: type[Spec]) -> list[tuple[str, str, str]]:
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


def choices(annotation: Any) -> list[Any]:
    """The values that a field can have, if they are listed."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for inner in get_args(annotation) for value in choices(inner)] if get_origin(annotation) in (Union, UnionType) else []


def parts(node: type[Spec]) -> dict[str, type[Spec]]:
    """Fields that hold fields of their own and no `kind`: a mapping, or several."""
    return {name: part for name, field in node.model_fields.items() for part in _specs(field.annotation) if not getattr(part, "family", "")}


def _specs(annotation: Any) -> list[type[Spec]]:
    if inspect.isclass(annotation) and get_origin(annotation) is None:
        return [annotation] if issubclass(annotation, Spec) else []
    return [spec for inner in get_args(annotation) for spec in _specs(inner)]


def all_parts(nodes: Iterable[type[Node]]) -> dict[str, tuple[type[Spec], list[str]]]:
    """The parts of all methods, and of sampling, by the option that holds them; with the kinds that have such an option."""
    found: dict[str, tuple[type[Spec], list[str]]] = {}

    def enter(owner: str, spec: type[Spec]) -> None:
        for name, part in parts(spec).items():
            found.setdefault(name, (part, []))[1].append(owner)
            enter(f"{owner}.{name}", part)

    enter("sample", Sampling)
    for node in methods(nodes):
        if not node.python_only:
            enter(node.kind, node)
    return found


def shown(node: type[Spec], option: str) -> str:
    """An option as one may write it: of the example, or one of a part's own."""
    given = getattr(node, "example", {}).get(option)
    part = parts(node).get(option)
    if given is None and part is not None:
        own = getattr(part, "example", {})
        default = node.model_fields[option].get_default(call_default_factory=True)
        given = own or (default if isinstance(default, Spec) or (isinstance(default, tuple) and default) else None)
        several = get_origin(node.model_fields[option].annotation) is tuple
        given = [given] if several and isinstance(given, Mapping) else given
    return "" if given is None else in_line(given)


def cost(node: type[Node]) -> str:
    """What it costs beyond what is asked without it, as its `costs` say: of the network's calls, and of its gradients."""
    said = node.costs.get("network_calls", "0")
    if said == "calls - 1" and isinstance(getattr(node, "calls", None), int):
        said = str(getattr(node, "calls", 1) - 1)
    gradients = node.costs.get("gradients", "0")
    return said if gradients == "0" else f"{said}; gradients: {gradients}"


def reckoned(node: Spec, what: str, **quantities: float) -> float:
    """Its `costs` of a receipt's name as a number. Errors: `NameError` for a quantity that is not given."""
    said = getattr(node, "costs", {}).get(what, "0")
    return float(eval(said, {"__builtins__": {}}, _Names(node, what, quantities)))


class _Names(dict[str, Any]):
    """What the names of an expression of costs stand for: an option, what follows from the options, or a quantity."""

    def __init__(self, node: Spec, what: str, quantities: Mapping[str, float]) -> None:
        super().__init__({name: value for name, value in quantities.items() if name not in type(node).model_fields})
        self.node, self.what, self.quantities = node, what, quantities

    def __missing__(self, name: str) -> Any:
        value = getattr(self.node, name, None)
        if value is None and name not in type(self.node).model_fields:
            raise KeyError(name)
        if isinstance(value, tuple | list):
            methods = [each for each in value if isinstance(each, Node) and each.family]
            return sum(reckoned(each, self.what, **self.quantities) for each in methods) if methods else len(value)
        return reckoned(value, self.what, **self.quantities) if isinstance(value, Node) and value.family else value


def told(node: type[Node]) -> str:
    """All that is to be said of a component, for a terminal."""
    lines = [f"{node.family} {node.kind}", "", inspect.getdoc(node) or "", "", f"example: {example(node)}"]
    group = "perception" if node.kind in PERCEPTION and node.family == "metric" else node.family
    if node.neutral is not None or group in METHODS or group == "perception":
        lines.append(
            f"changes nothing with: {in_line(dict(node.neutral)) if node.neutral is not None else f'no setting; {_no_neutral(group)}'}"
        )
    if unit := _unit(group):
        lines.append(f"extra network calls, at most ({unit}): {_explained(node)}")
    if node.systems:
        lines.append(f"expresses: {', '.join(node.systems)}")
    return "\n".join([*lines, *_options_told(node)])


def part_told(name: str, part: type[Spec], owners: Sequence[str]) -> str:
    """All that is to be said of an option that holds options, for a terminal."""
    lines = [f"option {name} (of {', '.join(owners)})", "", inspect.getdoc(part) or "", ""]
    if own := getattr(part, "example", {}):
        lines.append(f"example: {{{name}: {in_line(own)}}}")
    if (neutral := getattr(part, "neutral", None)) is not None:
        lines.append(f"changes nothing with: {in_line(dict(neutral))}")
    if issubclass(part, Node) and part.costs:
        lines.append(f"extra network calls, at most ({_unit('option')}): {_explained(part)}")
    if systems := getattr(part, "systems", ()):
        lines.append(f"expresses: {', '.join(systems)}")
    return "\n".join([*lines, *_options_told(part)])


def _options_told(node: type[Spec], indent: str = "  ") -> list[str]:
    """Each option with its default, its choices, and what it holds itself."""
    lines, fields = [], options(node)
    width = max((len(name) for name, _, _ in fields), default=0)
    for name, default, text in fields:
        lines.append(f"{indent}{name:<{width}}  {text}{f' [{default}]' if default else ' (must be given)'}")
        field, beside = node.model_fields[name], indent + " " * (width + 2)
        if given := choices(field.annotation):
            lines.append(f"{beside}one of: {', '.join(in_line(value) for value in given)}")
        if family := next((spec.family for spec in _specs(field.annotation) if issubclass(spec, Node) and spec.family), ""):
            lines.append(f"{beside}`anylatent methods {family}` lists them")
        if name in parts(node):
            if given := shown(node, name):
                lines.append(f"{beside}such as: {given}")
            lines += _options_told(parts(node)[name], beside)
    return ["", *lines] if lines and indent == "  " else lines


def _explained(node: type[Node]) -> str:
    """What it costs, with the quantities in it said in words."""
    said = cost(node)
    named = [f"{name}: {text}" for name, text in QUANTITIES.items() if re.search(rf"\b{name}\b", said) and name not in node.model_fields]
    return said + (f" ({'; '.join(named)})" if named else "")


def _unit(family: str) -> str:
    return next((unit for unit, families in UNITS.items() if family in families), "")


def _no_neutral(family: str) -> str:
    return next(reason for reason, families in NO_NEUTRAL.items() if family in families)


def expressing(name: str, nodes: Iterable[type[Node]]) -> list[tuple[type[Node], str]]:
    """Components that express a published system of this name or arXiv id, cite it, or say the word in their first line; and where.

    `DPM-Solver++(2M)`, one of a system's ways, is sought without the way if none is named so.
    """
    nodes, cited = list(nodes), _AS_CITED.fullmatch(name)
    hits = _expressing(cited[1] if cited else name, nodes)
    return hits or _expressing(re.sub(r"\s*\([^()]*\)$", "", name), nodes)


def _expressing(name: str, nodes: Sequence[type[Node]]) -> list[tuple[type[Node], str]]:
    word = re.compile(rf"(?<![\w.]){re.escape(name)}(?!\w)", re.IGNORECASE)
    hits = []
    for node in nodes:
        systems = [system for system in node.systems if word.search(system)]
        cited = [f"cites {paper}" for paper in papers(node) if paper == name]
        if told := ", ".join(systems) or ", ".join(cited) or (summary(node) if word.search(summary(node)) else ""):
            hits.append((node, told))
    return hits


def page(nodes: Sequence[type[Node]]) -> str:
    """The catalogue of methods in Markdown."""
    lines = [
        "# Catalogue of methods",
        "",
        "Made from the components themselves by `python tests/catalogue.py`; `anylatent methods KIND` shows one whole, and finds a method",
        "by the name or arXiv id of a published system. What works with what: [compatibility.md](../compatibility.md).",
        "",
        "*Neutral* settings change nothing, bit for bit, which a test tries for each. `-`: there are none.",
        "",
        *(f"- {', '.join(families)}: {reason}." for reason, families in NO_NEUTRAL.items()),
        "",
        "*Extra network calls*: how many more at most, which a test counts in runs; gradients are backward passes through the network, of",
        "each stream. They are",
        "",
        *(f"- of {', '.join(families)}: {unit};" for unit, families in UNITS.items()),
        "- of what is said in training: none.",
        "",
        "In an expression the name of an option stands for it, a list for how many it holds, a method for its own extra calls. Else:",
        "",
        *(f"- `{name}`: {text}" for name, text in QUANTITIES.items()),
    ]
    for family, own in families(nodes).items():
        lines += ["", f"## {family}", ""]
        if family == "perception":
            lines += [
                "What a denoiser knows of given samples, as metrics of a run; [perception.md](perception.md) has the functions in Python.",
                "",
            ]
        lines += _table(family, [_row(family, node) for node in own])
    lines += ["", "## options that hold options", "", "Without a `kind`: what is said within another method, or under `sample`.", ""]
    lines += _table("option", [_part_row(name, part, owners) for name, (part, owners) in sorted(all_parts(nodes).items())])
    return "\n".join(lines) + "\n"


def _table(family: str, rows: Sequence[Sequence[str]]) -> list[str]:
    heads = ["option" if family == "option" else "kind", "what it is", "options", "neutral", "extra network calls", "papers", "expresses"]
    kept = [i for i, head in enumerate(heads) if head != "extra network calls" or _unit(family)]
    cells = [heads, ["---"] * len(heads), *rows]
    return [
        "| " + " | ".join(row[i].replace("|", "\\|") for i in kept) + " |" if row[0] != "---" else "|" + "---|" * len(kept) for row in cells
    ]


def _row(family: str, node: type[Node]) -> list[str]:
    named = ", ".join(f"`{name}`" + (f" = {default}" if default and len(default) < 24 else "") for name, default, _ in options(node))
    neutral = "-" if node.neutral is None else f"`{in_line(dict(node.neutral))}`"
    calls = cost(node) if _unit(family) else ""
    return [
        f"`{node.kind}`",
        summary(node),
        named,
        neutral,
        calls if calls.isdigit() else f"`{calls}`",
        _links(node),
        ", ".join(node.systems),
    ]


def _part_row(name: str, part: type[Spec], owners: Sequence[str]) -> list[str]:
    own: Mapping[str, Any] = getattr(part, "example", {})
    whose = f"Of {', '.join(f'`{owner}`' for owner in owners)}. {summary(part)}" + (f"; `{name}: {in_line(own)}`" if own else "")
    named = ", ".join(f"`{field}`" + (f" = {default}" if default and len(default) < 24 else "") for field, default, _ in options(part))
    neutral = getattr(part, "neutral", None)
    costs = cost(part) if issubclass(part, Node) else "0"
    cells = [f"`{name}`", whose, named, "-" if neutral is None else f"`{in_line(dict(neutral))}`"]
    return [*cells, costs if costs.isdigit() else f"`{costs}`", _links(part), ", ".join(getattr(part, "systems", ()))]


def _links(node: type[Spec]) -> str:
    return ", ".join(f"[{paper}](https://arxiv.org/abs/{paper})" for paper in papers(node))


def methods(nodes: Iterable[type[Node]]) -> list[type[Node]]:
    """The methods among the components."""
    return [node for own in families(nodes).values() for node in own]


def families(nodes: Iterable[type[Node]]) -> dict[str, list[type[Node]]]:
    """The methods among the components, by family, in the order of the page."""
    nodes = list(nodes)
    found = {family: sorted((node for node in nodes if node.family == family), key=lambda node: node.kind) for family in METHODS}
    found["perception"] = [node for node in nodes if node.family == "metric" and node.kind in PERCEPTION]
    return {family: own for family, own in found.items() if own}
