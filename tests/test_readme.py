"""Every snippet of the README and of the guides, run."""

import inspect
import re
from pathlib import Path

import pytest
import torch

from anylatent import load_recipe
from anylatent.hookspecs import anylatent_components, anylatent_report_section
from anylatent.plugins import Plugins, load_file

ROOT = Path(__file__).parents[1]


def _blocks(file: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / file).read_text(), re.DOTALL | re.MULTILINE)


def test_the_recipe_is_valid() -> None:
    (text,) = _blocks("README.md", "yaml")
    recipe = load_recipe(text)
    assert recipe.denoiser.kind == "dit"


def test_the_tokenizer_is_one(tmp_path: Path) -> None:
    """The ten lines hold the laws that a tokenizer is held to, and a recipe can name them."""
    text = next(block for block in _blocks("README.md", "python") if "waves.py" in block)
    file = tmp_path / "waves.py"
    file.write_text(text)
    load_file(file)
    config = Plugins.discover().components(["waves"]).find("tokenizer", "waves.cosine")()
    samples = list(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)))
    tokenizer = config.build(samples[0])
    state = tokenizer.encode(samples)
    assert state["waves"].shape == (3, 8, 1)
    torch.testing.assert_close(tokenizer.decode(state), samples, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokenizer.encode(samples[1:2])["waves"].values[0], state["waves"].values[1])
    assert tokenizer.layout(torch.arange(2))["waves"].shape == (2, 8, 1)


LINES = [line for block in _blocks("README.md", "sh") for line in block.splitlines()]
COMMANDS = [line.split("#")[0].strip() for line in LINES if line.startswith("anylatent")]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_exist(line: str, run_cli) -> None:
    """Each command of the README is one, with these options."""
    words = line.split()
    command = words[1:3] if words[1] in ("recipe", "data", "plugins") and len(words) > 2 else words[1:2]
    page = run_cli(*command, "--help").stdout
    for option in (word for word in words if word.startswith("--")):
        assert option in page


def test_the_hooks_are_documented_as_they_are() -> None:
    text = (ROOT / "docs" / "plugins.md").read_text()
    for hook in (anylatent_components, anylatent_report_section):
        arguments = ", ".join(inspect.signature(hook).parameters)
        assert f"`{hook.__name__}({arguments})`" in text


@pytest.mark.parametrize("file", ["README.md", *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))])
def test_links_lead_somewhere(file: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / file).read_text()):
        if "://" not in target:
            assert ((ROOT / file).parent / target).exists(), f"{file}: {target}"
