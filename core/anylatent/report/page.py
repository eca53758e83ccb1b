"""From facts to one HTML file."""

import base64
import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from anylatent.report.charts import curves
from anylatent.report.facts import ReportFacts

if TYPE_CHECKING:
    from anylatent.metrics.base import Measure
    from anylatent.state import Receipt

ROOM_PX = {"alone": (960, 640), "one of several": (476, 640), "strip": (640, 640)}
"""Width and height that a small picture is enlarged to fill, by a whole factor, without smoothing."""

PREVIEWS = 12
"""At most so many previews are shown: the first, the last, and some evenly between."""


def render(facts: ReportFacts) -> str:
    """The report as HTML: no script, no network, pictures inside. Errors: `ValueError` for a picture that is no PNG."""
    environment = Environment(
        loader=PackageLoader("anylatent.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "duration": duration, "yaml": highlighted, "trusted": Markup, "picture": picture}
    page = environment.get_template("report.html")
    return page.render(
        facts=facts,
        style=Markup((Path(__file__).parent / "report.css").read_text()),
        previews=spread(facts.previews, PREVIEWS),
        curves={stage: Markup(svg) for stage, svg in curves(facts.log).items()},
        measures=[dict(measure=measure) | marks(measure) | rounded(measure) for measure in facts.measures],
        receipts=[dict(receipt=receipt, counts=tallies(receipt)) for receipt in facts.receipts],
        total_s=sum(stage.seconds for stage in facts.stages),
    )


def number(value: Any) -> str:
    """Four digits that matter, thousands apart: 0.01234, 12.3, 1,797."""
    if not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "not a number")
    if value == int(value) and abs(value) < 1e12:
        text = f"{int(value):,}"
    elif 1e-3 <= abs(value) < 1e6:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{min(digits, 4)}f}"
    else:
        text = f"{value:.3g}"
    return text.replace("-", "−")


def duration(seconds: float) -> str:
    """0.4 s, 12 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def spread(things: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of them, evenly spaced, both ends included."""
    if len(things) <= count:
        return list(things)
    return [things[round(place * (len(things) - 1) / (count - 1))] for place in range(count)]


def picture(png: bytes, caption: str, room: str) -> Markup:
    """An `<img>` with the PNG inside. Errors: `ValueError` if it is no PNG."""
    if png[:8] != b"\x89PNG\r\n\x1a\n" or png[12:16] != b"IHDR":
        raise ValueError(f"the picture '{caption}' is not a PNG: it begins with {png[:8]!r}")
    width, height = struct.unpack(">II", png[16:24])
    factor = max(1, min(ROOM_PX[room][0] // width, ROOM_PX[room][1] // height))
    return Markup('<img src="data:image/png;base64,{}" alt="{}" width="{}" height="{}"{}>').format(
        base64.b64encode(png).decode(), caption, width * factor, height * factor, Markup(' class="crisp"') if factor > 1 else ""
    )


def rounded(measure: "Measure") -> dict[str, str]:
    """Value, ends of the interval and floor with as many decimals as the interval's width is worth: two digits of it."""
    width = measure.high - measure.low
    decimals = min(6, max(0, 1 - math.floor(math.log10(width)))) if math.isfinite(width) and width > 0 else 4

    def text(x: float | None) -> str:
        return "–" if x is None else f"{x:,.{decimals}f}".replace("-", "−") if math.isfinite(x) else number(x)

    return {f"{name}_text": text(getattr(measure, name)) for name in ("value", "low", "high", "floor")}


def marks(measure: "Measure") -> dict[str, float | None]:
    """Where value, interval and floor stand on a measure's own axis, in percent: from 0 to 1, or to a little past the largest."""
    known = [x for x in (measure.value, measure.low, measure.high, measure.floor) if x is not None and math.isfinite(x)]
    start, end = min(0.0, *known, 0.0), max([*known, 0.0])
    end = 1.0 if 0 <= start and 0.2 < end <= 1 else end + 0.12 * (end - start) or 1.0

    def place(x: float | None) -> float | None:
        return None if x is None or not math.isfinite(x) else round(100 * (x - start) / (end - start), 2)

    return {name: place(getattr(measure, name)) for name in ("value", "low", "high", "floor")}


def tallies(receipt: "Receipt") -> list[dict[str, Any]]:
    """Each count of a receipt, with its least and most over the rows, where rows were counted."""
    found = []
    for name, total in receipt.counts.items():
        each = [row[name] for row in receipt.rows.values() if name in row]
        spread = "" if not each else number(min(each)) if min(each) == max(each) else f"{number(min(each))} to {number(max(each))}"
        found.append({"name": name.replace("_", " "), "total": total, "rows": len(each), "spread": spread})
    return found


_YAML = re.compile(
    r"(?P<comment>(?:^|(?<=\s))#.*$)|(?P<key>[\w.-]+(?=:(?:\s|$)))|(?P<text>\"[^\"\n]*\"|'[^'\n]*')"
    r"|(?P<value>(?<![\w.-])(?:-?\d[\d_]*(?:\.\d*)?(?:[eE][-+]?\d+)?|true|false|null)(?![\w.-]))",
    re.MULTILINE,
)


def highlighted(text: str) -> Markup:
    """YAML with its keys, numbers, quoted texts and comments marked."""
    out, end = [], 0
    for match in _YAML.finditer(text):
        out += [escape(text[end : match.start()]), Markup('<span class="y-{}">{}</span>').format(match.lastgroup, match[0])]
        end = match.end()
    return Markup("").join([*out, escape(text[end:])])
