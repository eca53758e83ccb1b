"""Sheets of several parts, put together."""

import io
from collections.abc import Sequence
from typing import Any

MARGIN = 8
"""Rows of white between two sheets."""


def written(lines: Sequence[str]) -> bytes:
    """Lines of text, one under the other, as a PNG: as large as they are."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0, 1, "\n".join(lines), va="top", linespacing=1.5, fontsize=8, family="monospace", parse_math=False)
    return _png(figure.savefig, format="png", bbox_inches="tight", pad_inches=0.1)


def stacked(sheets: Sequence[bytes]) -> bytes:
    """PNG sheets, one under the other on white, as one: cell for cell as they were."""
    import numpy as np
    from matplotlib import pyplot

    drawn = [pyplot.imread(io.BytesIO(sheet)) for sheet in sheets]
    drawn = [np.repeat(each[..., None], 3, -1) if each.ndim == 2 else each[..., :3] for each in drawn]
    width = max(each.shape[1] for each in drawn)
    rows = []
    for each in drawn:
        rows += [np.pad(each, ((0, 0), (0, width - each.shape[1]), (0, 0)), constant_values=1.0), np.ones((MARGIN, width, 3), each.dtype)]
    return _png(pyplot.imsave, np.concatenate(rows[:-1]).clip(0, 1), format="png")


def _png(save: Any, *content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    save(stream, *content, **options)
    return stream.getvalue()
