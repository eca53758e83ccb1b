"""Sheets of several parts, put together."""

import io
from collections.abc import Sequence
from typing import Any

_LINE = 0.22
_MARGIN = 8


def written(lines: Sequence[str]) -> bytes:
    """Lines of text, one under the other, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.4 + 0.09 * max(map(len, lines)), 0.2 + _LINE * len(lines)), facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.15 / figure.get_figwidth(), 1 - 0.1 / figure.get_figheight(), "\n".join(lines), va="top", linespacing=1.5, fontsize=8)
    return _png(figure.savefig, format="png")


def stacked(sheets: Sequence[bytes]) -> bytes:
    """PNG sheets, one under the other on white, as one: cell for cell as they were."""
    import numpy as np
    from matplotlib import pyplot

    drawn = [pyplot.imread(io.BytesIO(sheet)) for sheet in sheets]
    drawn = [np.repeat(each[..., None], 3, -1) if each.ndim == 2 else each[..., :3] for each in drawn]
    width = max(each.shape[1] for each in drawn)
    rows = []
    for each in drawn:
        rows += [np.pad(each, ((0, 0), (0, width - each.shape[1]), (0, 0)), constant_values=1.0), np.ones((_MARGIN, width, 3), each.dtype)]
    return _png(pyplot.imsave, np.concatenate(rows[:-1]).clip(0, 1), format="png")


def _png(save: Any, *content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    save(stream, *content, **options)
    return stream.getvalue()
