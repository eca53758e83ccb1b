"""Numbers and tables as a terminal shows them."""

import math
import sys
from collections.abc import Iterable, Sequence
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anylatent.metrics.base import Measure


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


def _wrapped(text: str) -> str:
    """Broken between words in a terminal; one line for whatever else reads it."""
    return fill(text, get_terminal_size().columns, subsequent_indent="  ") if sys.stdout.isatty() else text


_ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"
