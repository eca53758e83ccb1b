"""Plots for people: chunks of actions, and rollouts beside the expert's."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anylatent_robot.chunk import Chunk
    from anylatent_robot.rollout import Rollout

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#7f7f7f", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, which colour-blind people can tell apart."""


def draw_chunks(samples: "Sequence[Chunk]", captions: Sequence[str] = ()) -> bytes:
    """A PNG with a small plot a chunk: each action channel over time, all plots on one scale.

    Errors: `ValueError` if there is no chunk, or another number of captions.
    """
    if not samples:
        raise ValueError("a sheet needs at least one chunk, given none")
    if captions and len(captions) != len(samples):
        raise ValueError(f"{len(captions)} captions for {len(samples)} chunks: give one each, or none")
    columns = math.ceil(math.sqrt(len(samples)))
    rows = math.ceil(len(samples) / columns)
    width, height = max(3.0, 1.75 * columns + 0.6), (1.45 if captions else 1.2) * rows + 0.9
    figure = _figure(width, height)
    low, high = _range([sample.actions for sample in samples])
    grid = figure.add_gridspec(
        rows, columns, left=0.5 / width, right=1 - 0.1 / width, bottom=0.45 / height, top=1 - (0.6 if captions else 0.4) / height,
        wspace=0.08, hspace=0.35 if captions else 0.12,
    )  # fmt: skip
    for index, sample in enumerate(samples):
        row, column = divmod(index, columns)
        axis = figure.add_subplot(grid[row, column])
        t = [1000 * step / sample.hz for step in range(len(sample.actions))]
        for channel in range(sample.actions.shape[1]):
            colour = _COLOURS[channel % len(_COLOURS)]
            axis.plot(t, sample.actions[:, channel].tolist(), color=colour, linewidth=1.2, marker=".", markersize=3)
        axis.set_ylim(low, high)
        lowest = index + columns >= len(samples)
        axis.tick_params(labelsize=6, length=2, labelleft=column == 0, labelbottom=lowest)
        if captions:
            axis.set_title(_short(captions[index], 30), fontsize=6, pad=2)
    _legend(figure, [f"action {channel}" for channel in range(max(sample.actions.shape[1] for sample in samples))])
    figure.text(0.5, 0.08 / height, "ms from the newest observation", ha="center", fontsize=7)
    return _png(figure)


def draw_rollouts(pairs: "Sequence[tuple[str, Rollout, Rollout]]") -> bytes:
    """A PNG with a row a pair (title, the policy's rollout, the expert's from the same beginning).

    Left: the way of the hand from above (the first two observation channels); right: those and the third over time. The
    policy's lines are solid, the expert's dashed; a dot is where the task was done, a cross where time ran out.
    """
    height = 2.7 * len(pairs) + 0.4
    figure = _figure(8.6, height)
    axes = figure.subplots(len(pairs), 2, squeeze=False)
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.45 / height, top=1 - 0.65 / height, hspace=0.45, wspace=0.18)
    for (title, ours, experts), (plan, over_time) in zip(pairs, axes):
        for rollout, style, colour in ((experts, "--", "#7f7f7f"), (ours, "-", "#0072b2")):
            seen = rollout.observations
            plan.plot(seen[:, 0].tolist(), seen[:, 1].tolist(), style, color=colour, linewidth=1.4)
            plan.plot(*seen[-1, :2].tolist(), "o" if rollout.success else "x", color=colour, markersize=6)
            t = [step / rollout.hz for step in range(len(seen))]
            for channel in range(min(3, seen.shape[1])):
                over_time.plot(t, seen[:, channel].tolist(), style, color=_COLOURS[channel], linewidth=1.2)
        end = "done" if ours.success else "not done"
        plan.set_title(f"{title}: {end} after {len(ours.actions)} steps, the expert {len(experts.actions)}", fontsize=8)
        plan.set_xlabel("observation 0", fontsize=7)
        plan.set_ylabel("observation 1", fontsize=7)
        over_time.set_xlabel("s", fontsize=7)
        for axis in (plan, over_time):
            axis.tick_params(labelsize=7, length=2)
    _legend(figure, [f"observation {channel}" for channel in range(3)])
    return _png(figure)


def _figure(width: float, height: float) -> Any:
    """A figure of its own, without pyplot's state or a window; in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def _range(arrays: Sequence[Any]) -> tuple[float, float]:
    low, high = min(float(x.min()) for x in arrays), max(float(x.max()) for x in arrays)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _legend(figure: Any, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=_COLOURS[i % len(_COLOURS)], label=name) for i, name in enumerate(names)]
    figure.legend(handles=lines, loc="upper center", ncols=min(4, len(lines)), fontsize=7, frameon=False)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
