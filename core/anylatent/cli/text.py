"""Numbers and tables as a terminal shows them."""

import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING

from anylatent.catalogue import in_line

if TYPE_CHECKING:
    from anylatent.metrics.base import Measure
    from anylatent.schedule_search import FoundSchedule
    from anylatent.schedules import Table
    from anylatent.solver_fit import FoundSolver
    from anylatent.types import Tensor


def table(rows: Iterable[Sequence[str]]) -> str:
    """Columns, aligned; the last one is as wide as it likes."""
    lines = [list(row) for row in rows]
    columns = max((len(line) for line in lines), default=0)
    widths = [max((len(line[i]) for line in lines if i < len(line) - 1), default=0) for i in range(columns)]
    padded = ("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 5 s`, `2 h 7 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def rate(steps_per_second: float) -> str:
    """Steps a second, or seconds a step when they are long."""
    return f"{steps_per_second:,.1f}/s" if steps_per_second >= 1 else f"{1 / steps_per_second:,.1f} s each"


def measured(measures: "Iterable[Measure]") -> str:
    """The measures of an evaluation: value, interval, samples, what real data reach; then what is to be said of each."""
    found = list(measures)
    rows = [("metric", "value", "95 % interval", "n", "real data", "")]
    rows += [
        (
            f"{measure.name} {_ARROWS[measure.better]}".strip(),
            _number(measure.value),
            f"{_number(measure.low)} … {_number(measure.high)}" if math.isfinite(measure.low) else "",
            str(measure.n),
            "" if measure.floor is None else _number(measure.floor),
            "",
        )
        for measure in found
    ]
    return "\n".join([table(rows), *(_wrapped(f"{measure.name}: {measure.note}") for measure in found if measure.note)])


def found_schedule(found: "FoundSchedule") -> str:
    """A node to paste, then what it is worth and what it took."""
    return f"schedule: {_schedule(found.schedule)}\n{_worth(found, 'before')}"


def found_solver(found: "FoundSolver") -> str:
    """What to paste in a recipe's `sample`, and of several streams as options too; then what it is worth and what it took."""
    nodes = {
        name: f"{{kind: fitted, times: [{_numbers(node.times)}], rows: [{', '.join(f'[{_numbers(row)}]' for row in node.rows)}]}}"
        for name, node in found.solvers.items()
    }
    lines = [f"steps: {found.steps}", f"schedule: {_schedule(found.schedule)}"]
    if len(nodes) == 1:
        lines.append(f"solver: {next(iter(nodes.values()))}")
    else:
        lines += ["streams:", *(f"  {name}: {{solver: {node}}}" for name, node in nodes.items())]
        options = [f"--steps {found.steps} --schedule {quote(_schedule(found.schedule))}"]
        options += [f"--stream {quote(f'{name}={{solver: {node}}}')}" for name, node in nodes.items()]
        lines.append(f"options: {' '.join(options)}")
    return "\n".join([*lines, _worth(found, "of dpm++2m")])


def _schedule(found: "Table") -> str:
    return f"{{kind: table, unit: time, knots: [{_numbers(found.knots)}]}}"


def _numbers(numbers: Sequence[float]) -> str:
    """In as many digits as they were found with."""
    return ", ".join(f"{number:g}" for number in numbers)


def _worth(found: "FoundSchedule", before: str) -> str:
    """How much nearer a search came, and what it took."""
    percent = [f"{100 * share:.0f}" for share in (found.less, found.low, found.high)]
    worth = f"{percent[0]} % less ({percent[1]} to {percent[2]})" if found.low > 0 else "not surely less: keep what the recipe says"
    rows = [
        ("steps", f"{found.steps}"),
        ("error", f"{found.before:.3g} {before}, {found.after:.3g} after: {worth}, on {found.rows} other seeds"),
        ("", f"(mean distance from the tokens of {found.reference_steps} steps, in standard deviations)"),
        ("network calls", f"{found.network_calls:,} in {duration(found.seconds)}"),
    ]
    return table(rows)


def found_directions(
    run: Path, file: Path, block: int, times: Sequence[float], found: "Tensor", measures: "Sequence[Measure]", asked: Sequence[str]
) -> str:
    """A node to paste, then what it is worth and a command to try it with. `found`: `(count, N, W)`, or `(count, W)`."""
    node = f"{{kind: direction, file: {in_line(str(file))}, block: {block}}}"
    what = f"of each of {found.shape[1]} tokens" if found.dim() == 3 else "for all tokens alike"
    rows = [("found", f"{len(found)}, {what}, after block {block}, at time{'s' * (len(times) > 1)} {', '.join(f'{t:g}' for t in times)}")]
    for measure in measures:
        percent = [f"{100 * share:.3g}" for share in (measure.value, measure.low, measure.high)]
        rows.append((measure.name, f"{percent[0]} % ({percent[1]} to {percent[2]}), on {measure.n} other samples"))
    options = [f"--condition {quote(text)}" for text in asked] + [f"--hook {quote(node)}"]
    return f"hook: {node}\n{table([*rows, ('try', ' '.join(['anylatent sample', quote(str(run)), *options]))])}"


def _wrapped(text: str) -> str:
    """Broken between words in a terminal; one line for whatever else reads it."""
    return fill(text, get_terminal_size().columns, subsequent_indent="  ") if sys.stdout.isatty() else text


_ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"
