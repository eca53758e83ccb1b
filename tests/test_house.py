"""House rules that no linter knows."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core" / "anylatent"

MODALITY_WORDS = (
    "image|pixel|photo|rgb|video|audio|wav|waveform|spectrogram|speech|molecule|molecular|smiles|selfies|"
    "atom|rdkit|mesh|voxel|pointcloud|robot|gripper|emoji"
)
NOT_A_MODALITY = {
    # (where in core/anylatent, which word): what it means there
    ("report/", "image"): "HTML and CSS speak of images; a sheet is shown as one, whatever the modality",
    ("report/", "pixel"): "the page's own",
}
LONG_FILES: dict[str, str] = {
    # file: why it is one
    "core/anylatent/testing/discrete.py": "an oracle of sequences, and the two contracts that it is there for",
}


def sources() -> list[Path]:
    return sorted(p for p in CORE.rglob("*.py") if "testing" not in p.relative_to(CORE).parts)


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def modality_words(text: str) -> list[tuple[int, str]]:
    """Line numbers and words; a word counts inside identifiers too (`image_size`, `decode_video`), plurals as well."""
    found = re.compile(rf"(?<![a-z])({MODALITY_WORDS})s?(?![a-z])", re.IGNORECASE)
    return [(number, match[1].lower()) for number, line in enumerate(text.splitlines(), 1) for match in found.finditer(line)]


def test_the_core_knows_no_modality():
    broken = [
        f"{names(path)}:{number}: '{word}'"
        for path in sources()
        for number, word in modality_words(path.read_text())
        if not any(names(path).startswith(f"core/anylatent/{room}") and word == allowed for room, allowed in NOT_A_MODALITY)
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("line", ["image_size = 3", "def to_rgb():", "# two videos", "ATOM = 1", "class X: smiles: str"])
def test_a_modality_word_is_found(line):
    assert modality_words(line)


@pytest.mark.parametrize("line", ["framework", "imagine", "atomic write", "soundness", "sampler"])
def test_other_words_are_not(line):
    assert not modality_words(line)


def tracked() -> list[Path]:
    """The files of the repository: tracked, or new and not ignored."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git work tree")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_is_large():
    large = {names(path): path.stat().st_size for path in tracked() if path.stat().st_size > 1_000_000}
    assert not large, f"over 1 MB: {large}; data is fetched, weights are trained"


def test_files_fit_a_reader():
    lengths = {names(path): len(path.read_text().splitlines()) for path in tracked() if path.suffix == ".py" and "tests" not in path.parts}
    long = {name: lines for name, lines in lengths.items() if lines > 400}
    assert set(long) == set(LONG_FILES), f"over 400 lines without a reason, or a reason without need: {long}"


def test_every_recipe_says_what_it_is_for():
    recipes = sorted((ROOT / "recipes").rglob("*.yaml"))
    assert recipes
    for path in recipes:
        head = path.read_text().splitlines()[0]
        assert re.match(r"# \S.{20,}", head), f"{names(path)} begins with a comment: what it trains, on what, how long it takes"
