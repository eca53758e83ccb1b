"""Curves as inline SVG, in the page's own colours and letters."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

POINTS = 600
"""A curve is drawn through at most this many means of neighbouring steps."""

_INK, _FAINT, _ACCENT = "#010203", "#040506", "#070809"
"""Stand for the page's colours until the SVG is written: matplotlib knows no CSS variables."""
_OF_THE_PAGE = {_INK: "var(--ink-soft)", _FAINT: "var(--line)", _ACCENT: "var(--accent)"}

_STYLE = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlecolor": _INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "axes.formatter.useoffset": False,
}


def curves(log: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """For each stage that has a loss: SVG of the loss over steps, and below it, small, every other number that varies."""
    stages: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in log:
        series = stages.setdefault(str(line.get("stage", "")), {})
        for name, value in line.items():
            if name not in ("step", "stage", "seconds") and isinstance(value, int | float) and math.isfinite(value):
                series.setdefault(name, []).append((float(line["step"]), float(value)))
    return {stage: _figure(stage, series) for stage, series in stages.items() if len(series.get("loss", ())) > 1}


def _figure(stage: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    small = [name for name, points in series.items() if name != "loss" and len({value for _, value in points}) > 1][:6]
    style: dict[Any, Any] = {**_STYLE, "svg.hashsalt": stage}
    with mpl.rc_context(style):
        columns = min(3, max(1, len(small)))
        rows = 1 + math.ceil(len(small) / columns)
        figure = Figure(figsize=(10, 3.1 + 1.25 * (rows - 1)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(rows, columns, height_ratios=[3.1] + [1.0] * (rows - 1))
        _loss(figure.add_subplot(grid[0, :]), series["loss"])
        for place, name in enumerate(small):
            _small(figure.add_subplot(grid[1 + place // columns, place % columns]), name, series[name])
        return _svg(figure)


def _loss(axes: Any, points: Sequence[tuple[float, float]]) -> None:
    """Each step pale, their running mean strong; the axis is logarithmic where the mean falls tenfold or more."""
    steps, values = _thinned(points)
    smooth = _smoothed(values)
    axes.plot(steps, values, color=_ACCENT, alpha=0.28, linewidth=0.8)
    axes.plot(steps, smooth, color=_ACCENT, linewidth=1.9, solid_capstyle="round")
    low, high = min(smooth), max(smooth)
    if low > 0 and high / low > 10:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    else:
        # The first steps would press the rest flat: they may leave at the top.
        tail = sorted(values)[: max(2, int(len(values) * 0.98))] if len(values) > 20 else sorted(values)
        margin = 0.08 * (tail[-1] - tail[0] or abs(tail[0]) or 1)
        axes.set_ylim(tail[0] - margin, tail[-1] + margin)
    axes.set_title("loss")
    axes.set_xlabel("step")
    _tidy(axes, steps)


def _small(axes: Any, name: str, points: Sequence[tuple[float, float]]) -> None:
    steps, values = _thinned(points)
    axes.plot(steps, values, color=_ACCENT, linewidth=1.2)
    axes.set_title(name.replace("_", " "))
    axes.locator_params(axis="y", nbins=3)
    axes.locator_params(axis="x", nbins=4)
    _tidy(axes, steps)


def _tidy(axes: Any, steps: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_xlim(min(steps), max(steps))
    axes.margins(x=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Means of equal runs of neighbouring points."""
    ordered = sorted(points)
    run = math.ceil(len(ordered) / POINTS)
    groups = [ordered[start : start + run] for start in range(0, len(ordered), run)]
    return [sum(step for step, _ in g) / len(g) for g in groups], [sum(value for _, value in g) / len(g) for g in groups]


def _smoothed(values: Sequence[float]) -> list[float]:
    """The mean over a window of a twentieth of the curve, centred, shorter at the ends."""
    half = max(1, len(values) // 40)
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def _svg(figure: Any) -> str:
    """The figure as an `<svg>` element that takes the page's width, colours and font; the same for the same figure."""
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for colour, variable in _OF_THE_PAGE.items():
        text = text.replace(colour, variable)
    return text.replace("'DejaVu Sans'", "var(--sans)")
