"""What the pages on paths, objectives and schedules show is valid, and their tables name every kind."""

import re
from pathlib import Path

import pytest
import yaml

from anylatent.components import core_components
from anylatent.node import Components
from anylatent.objective import Coupling, Objective, TimeDensity, Weighting
from anylatent.paths import GaussianPath
from anylatent.sampling import Sampling
from anylatent.schedules import Schedule

PAGES = {name: (Path(__file__).parents[2] / "docs" / "methods" / f"{name}.md").read_text() for name in ("paths", "objectives", "schedules")}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_recipes_shown_are_valid(page):
    context = {"components": Components(core_components())}
    shown = [yaml.safe_load(block) for block in blocks(PAGES[page], "yaml")]
    assert shown
    for part in shown:
        assert set(part) <= {"objective", "sample"}
        Objective.model_validate(part.get("objective", {}), context=context)
        Sampling.model_validate(part.get("sample", {}), context=context)


@pytest.mark.parametrize("page", PAGES)
def test_the_python_shown_runs(page):
    for code in blocks(PAGES[page], "python"):
        exec(compile(code, f"docs/methods/{page}.md", "exec"), {})


TABLES = [
    ("paths", GaussianPath),
    ("objectives", TimeDensity),
    ("objectives", Weighting),
    ("objectives", Coupling),
    ("schedules", Schedule),
]


@pytest.mark.parametrize(("page", "family"), TABLES)
def test_the_tables_name_every_kind(page, family):
    told = set(re.findall(r"^\| `([\w-]+)`", PAGES[page], re.MULTILINE)) | set(re.findall(r"^A `(\w+)` goes", PAGES[page], re.MULTILINE))
    assert {node.kind for node in core_components() if issubclass(node, family)} <= told
