"""What is no recipe at all ends in a short, clear message, quickly."""

import time
from pathlib import Path

import pytest

from anylatent import recipe
from anylatent.plugins import Plugins
from anylatent.recipe import RecipeError

NOTHING = Plugins()


@pytest.fixture(autouse=True)
def _quickly():
    """Each within seconds, whatever the size: the loaded machine of a test run included."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 20


def message(source) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe.load(source, plugins=NOTHING)
    assert len(str(caught.value)) < 40 * 1000
    return str(caught.value)


@pytest.fixture
def file(tmp_path):
    def written(content: bytes) -> Path:
        path = tmp_path / "hostile.yaml"
        path.write_bytes(content)
        return path

    return written


BOMB = "a: &a [x, x]\n" + "\n".join(f"{new}: &{new} [*{old}, *{old}]" for old, new in zip("abcdefgh", "bcdefghi"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"key: value\n" * 1_000_000, "hostile.yaml: is larger than 1 MB: a recipe is a page of text"),
        (b"k: 1\n" * 150_000, "hostile.yaml:10000:4: holds more than 10,000 values"),
        (bytes(range(1, 256)) * 16, "hostile.yaml: is not text: byte 0x80 at offset 127 is not UTF-8"),
        (b"a: \x00", "is not YAML: control characters are not allowed (character 4)"),
        (b"\x89PNG\r\n\x1a\n", "is not text: byte 0x89 at offset 0 is not UTF-8"),
        (b"", "hostile.yaml: holds nothing: a recipe is a mapping, such as `modality: {kind: …}`"),
        (b"# only a comment\n", "holds nothing"),
        (b"- a\n- b\n", "holds a list: a recipe is a mapping"),
        (b"just words\n", "holds a single value: a recipe is a mapping"),
        (b"a: 1\n---\nb: 2\n", "hostile.yaml:2:1: a second document begins: a recipe is one"),
        (BOMB.encode(), "hostile.yaml:1:4: '&a': anchors and aliases are not read; write the value out"),
        (b"a: *b", "'*b': anchors and aliases are not read"),
        (b"a: !!python/name:os.system [echo]", "hostile.yaml:1:4: the tag 'tag:yaml.org,2002:python/name:os.system' is not read"),
        (b"!mine {a: 1}", "the tag '!mine' is not read"),
        (b"a: !!str 3", "the tag 'tag:yaml.org,2002:str' is not read"),
        (b"!!str a: 3", "the tag 'tag:yaml.org,2002:str' is not read"),
        (b"a: {" * 2000, "nested more than 40 deep"),
        (b"a: " + b"[" * 900_000, "nested more than 40 deep"),
        (b"- " * 400_000, "nested more than 40 deep"),
        (b"{" * 900_000, "a key must be a name"),
        (b"[a, b]: 1", "hostile.yaml:1:1: a key must be a name"),
        (b"'': 1", "a key must be a name"),
        (b"a: [1, 2\n", "hostile.yaml:2:1: is not YAML: did not find expected"),
        (b"a: 'open\n", "is not YAML: found unexpected end of stream"),
        (b"a: b: c", "hostile.yaml:1:5: is not YAML: mapping values are not allowed"),
        (b"\tx: 1", "is not YAML"),
        (b"%YAML 9.9\n---\na: 1", "is not YAML"),
        (b"anylatent: 99", "hostile.yaml:1:12: anylatent: this recipe is of version 99, this anylatent reads up to 1: upgrade anylatent"),
        (b"modality: {kind: " + b"a" * 500_000 + b"}", "modality.kind: no installed plugin provides 'aaaa"),
        (b"denoiser: {kind: " + b"a" * 500_000 + b"}", "denoiser.kind: there is no denoiser 'aaaa"),
        (b"x" * 100_000, "holds a single value"),
        (b"seed: " + b"9" * 500_000, "seed: expected a finite number; given 9999"),
        (b"<<: {seed: 3}", "unknown key '<<'"),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_a_hostile_file_is_refused_in_one_clear_line(file, content, said):
    assert said in message(file(content))


def test_text_is_judged_like_a_file():
    assert message("a: !!python/name:os.system\n").startswith("1 mistake:\n  the recipe:1:4: the tag")
    assert "is larger than 1 MB" in message("a: 1\n" * 300_000)


def test_a_mapping_that_never_ends_is_refused():
    endless: dict = {}
    endless["a"] = endless
    assert "nested more than 40 deep" in message(endless)


def test_what_is_no_readable_file_is_named(tmp_path, monkeypatch):
    with pytest.raises(IsADirectoryError, match=rf"'{tmp_path}' is a folder, a recipe is a YAML file$"):
        recipe.load(tmp_path)
    (tmp_path / "recipe.yaml").write_text("seed: 1")
    with pytest.raises(IsADirectoryError, match=r"this one is a run, its recipe is .*recipe.yaml"):
        recipe.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no recipe '.*recipes.yaml'; did you mean '.*recipe.yaml'?"):
        recipe.load(tmp_path / "recipes.yaml")
    with pytest.raises(FileNotFoundError, match=r"there is no recipe 'nowhere/at/all.yaml'$"):
        recipe.load("nowhere/at/all.yaml")

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # a test may run as root, who may read everything
    with pytest.raises(PermissionError, match=r"the recipe '.*recipe.yaml' cannot be read: permission denied"):
        recipe.load(tmp_path / "recipe.yaml")


def test_an_endless_device_is_not_read_to_its_end():
    assert "is larger than 1 MB" in message(Path("/dev/zero"))


def test_a_byte_order_mark_is_no_mistake(file):
    assert "unknown key 'sed'; did you mean 'seed'?" in message(file(b"\xef\xbb\xbfsed: 1\n"))
