"""The report: complete, self-contained, and careful with what it is given."""

import io
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from PIL import Image

from anylatent.metrics.base import Measure
from anylatent.report import Picture, Preview, ReportFacts, Section, StageTime, render
from anylatent.report.charts import POINTS, curves
from anylatent.report.page import PREVIEWS, duration, highlighted, marks, number, picture, rounded, tallies
from anylatent.state import Receipt


def png(width: int, height: int, colour: int = 0) -> bytes:
    written = io.BytesIO()
    Image.new("L", (width, height), colour).save(written, "PNG")
    return written.getvalue()


def receipt() -> Receipt:
    rows = {row: {"blocks_skipped": 40.0 + row, "blocks_run": 100.0} for row in range(4)}
    return Receipt("cache", {"blocks_skipped": 166.0, "blocks_run": 400.0}, rows, note="threshold 0.1")


def facts(**changes) -> ReportFacts:
    given = dict(
        title="A run <of> ours",
        recipe="anylatent: 1\nsolver: {kind: heun}",
        summary="Trained & judged.",
        environment={"torch": "2.13", "recipe_fingerprint": "abc"},
        stages=[StageTime("denoiser", 83, "300 steps"), StageTime("sample", 0.4)],
        log=[{"stage": "denoiser", "step": step, "loss": 1 / step, "learning_rate": 1e-3 * step, "seconds": 0.1} for step in range(1, 301)],
        previews=[Preview(step, png(8, 8, step % 255)) for step in range(0, 3000, 100)],
        sheets=[Picture("all <seeds>", png(1200, 300))],
        measures=[Measure("frechet", 0.6123, 0.52, 0.74, 1400, "lower", floor=0.41, note="400 against 1,397")],
        receipts=[receipt()],
        problems=[f"problem <{i}>" for i in range(25)],
        shell="anylatent run recipe.yaml",
        python='anylatent.load("runs/x")',
        sections=[Section("Extra", "<p id='extra'>a plugin's own</p>")],
        made="Made today",
    )  # fmt: skip
    return ReportFacts(**(given | changes))


class Tags(HTMLParser):
    """Checks that tags close in order; collects attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_everything_is_there_and_well_formed():
    page = render(facts())
    tags = Tags(page)
    assert not tags.open
    expected = [
        "A run &lt;of&gt; ours", "Trained &amp; judged.", "all &lt;seeds&gt;", "0.61", "0.52 – 0.74", "1,400",
        "400 against 1,397", "blocks skipped", "40 to 43", "threshold 0.1", "1 min 23 s", "300 steps", "problem &lt;0&gt;", "and 5 more",
        "anylatent run recipe.yaml",
        "<p id='extra'>a plugin's own</p>", "recipe fingerprint", "Made today",
    ]  # fmt: skip
    assert [text for text in expected if text not in page] == []
    assert page.count("<svg") == 2, "the mark and one stage's curves"


def test_nothing_is_fetched_and_nothing_runs():
    tags = Tags(render(facts()))
    assert not {tag for tag, _ in tags.seen} & {"script", "link", "iframe", "object"}
    sources = [value for _, attributes in tags.seen for name, value in attributes.items() if name in ("src", "href", "xlink:href")]
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    policies = [attributes["content"] for tag, attributes in tags.seen if tag == "meta" and "http-equiv" in attributes]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_what_is_empty_is_left_out():
    page = render(ReportFacts("bare", "anylatent: 1"))
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["Recipe"]
    assert not Tags(page).open


def test_the_same_facts_make_the_same_page():
    assert render(facts()) == render(facts())


def test_a_picture_that_is_no_png_is_named():
    with pytest.raises(ValueError, match=r"the picture 'samples' is not a PNG: it begins with b'GIF89a"):
        render(facts(sheets=[Picture("samples", b"GIF89a and more bytes than eight")]))


def test_small_pictures_are_enlarged_by_whole_factors():
    assert 'width="960" height="240" class="crisp"' in picture(png(64, 16), "small", "alone")
    assert 'width="640" height="640" class="crisp"' in picture(png(8, 8), "small", "alone")
    assert 'width="1200" height="300">' in picture(png(1200, 300), "large", "alone")
    assert 'alt="&#34; onerror=&#34;"' in picture(png(8, 8), '" onerror="', "alone")


def test_few_of_many_previews_are_shown_the_ends_among_them():
    page = render(facts())
    steps = re.findall(r"<figcaption>step ([\d,]+)</figcaption>", page)
    assert len(steps) == PREVIEWS
    assert (steps[0], steps[-1]) == ("0", "2,900")


def test_long_logs_make_short_curves():
    log = [{"stage": "denoiser", "step": step, "loss": 1 + step % 7} for step in range(50_000)]
    (svg,) = curves(log).values()
    assert len(svg) < 60 * POINTS
    assert "#0" not in svg
    assert "var(--accent)" in svg, "colours are the page's, not matplotlib's"


def test_losses_that_are_missing_or_not_finite_leave_gaps():
    log = [{"stage": "a", "step": step, "loss": loss} for step, loss in enumerate([1.0, math.nan, None, math.inf, 0.5, 0.4])]
    assert list(curves(log)) == ["a"]
    assert curves([{"stage": "a", "step": 0, "loss": 1.0}, {"stage": "b", "step": 0}]) == {}, "one point is no curve"


def test_matplotlib_is_left_as_it_was():
    """No pyplot, no display, and the caller's own settings stand afterwards."""
    program = (
        "import sys, matplotlib\n"
        "from anylatent.report.charts import curves\n"
        "read = lambda: [repr(matplotlib.rcParams[name]) for name in sorted(matplotlib.rcParams) if name != 'backend']\n"
        "before = read()\n"
        "curves([{'stage': 'a', 'step': s, 'loss': 1.0 / (s + 1)} for s in range(9)])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert read() == before"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.61234, "0.6123"),
        (1797, "1,797"),
        (12.345, "12.35"),
        (1e-5, "1e−05"),
        (-2.5, "−2.500"),
        (0, "0"),
        (math.nan, "not a number"),
        ("x", "x"),
    ],
)
def test_numbers_read_well(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7625, "2 h 07 min")]
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_measures_have_the_decimals_that_their_interval_is_worth():
    shown = rounded(Measure("x", 0.93412, 0.9012, 0.9513, 10, "higher", floor=None))
    assert (shown["value_text"], shown["low_text"], shown["high_text"], shown["floor_text"]) == ("0.934", "0.901", "0.951", "–")
    assert rounded(Measure("x", 1234.5, 1100, 1400, 10, "lower", floor=9.7))["value_text"] == "1,234"
    assert rounded(Measure("x", math.nan, math.nan, math.nan, 10, "lower"))["value_text"] == "not a number"


@pytest.mark.parametrize(("value", "low", "high", "floor"), [(0.5, 0.4, 0.7, 0.9), (12, 10, 20, 3), (-3, -4, 1, None), (0, 0, 0, 0)])
def test_marks_stay_on_their_axis_in_their_order(value, low, high, floor):
    placed = marks(Measure("x", value, low, high, 5, "neither", floor))
    assert all(place is None or 0 <= place <= 100 for place in placed.values())
    assert placed["low"] <= placed["value"] <= placed["high"]
    assert (placed["floor"] is None) == (floor is None)


def test_shares_are_drawn_from_0_to_1():
    assert marks(Measure("x", 0.5, 0.4, 0.7, 5, "higher", 0.9)) == {"value": 50.0, "low": 40.0, "high": 70.0, "floor": 90.0}


def test_tallies_of_a_receipt():
    assert tallies(receipt()) == [
        {"name": "blocks skipped", "total": 166, "rows": 4, "spread": "40 to 43"},
        {"name": "blocks run", "total": 400, "rows": 4, "spread": "100"},
    ]


def test_yaml_is_highlighted_and_nothing_of_it_is_lost():
    text = "# note: 3\nkey: {kind: image.digits, rate: 1e-3, on: true}\ntitle: \"<b> 'x' # no comment\"\nlist: [0.1, -2]\n"
    shown = highlighted(text)
    plain = re.sub(r"<[^>]+>", "", shown)
    assert plain.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"').replace("&#39;", "'") == text
    assert '<span class="y-comment"># note: 3</span>' in shown
    assert '<span class="y-key">rate</span>: <span class="y-value">1e-3</span>' in shown
    assert '<span class="y-value">-2</span>' in shown
    assert "digits</span>" not in shown
