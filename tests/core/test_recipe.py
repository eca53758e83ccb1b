"""Recipes: every mistake at once, said so that a person can mend it; what is right comes back whole."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from anylatent import plugins, recipe
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.plugins import Plugins, load_file
from anylatent.recipe import Recipe, RecipeError
from anylatent.recipe.reading import read_text, scalar
from anylatent.solvers.base import Solver
from anylatent.solvers.heun import Heun

TEXT = """\
anylatent: 1
modality: {kind: toy, data: {kind: toy.waves}}
tokenizer: {kind: grid, patch: [2]}
denoiser: {kind: dit, depth: 2, width: 32, heads: 2}
conditions: {label: {kind: class}}
train: {steps: 30, learning_rate: 1e-3}
sample:
  count: 8
  solver: {kind: heun}
  guidance: {kind: classifier-free, scale: 2}
"""


@pytest.fixture(scope="module")
def toy():
    """Plugins with one more: the toy, in a file."""
    known = dict(plugins._files)
    load_file(Path(__file__).parent / "toy_plugin.py")
    yield Plugins.discover()
    plugins._files.clear()
    plugins._files.update(known)


@pytest.fixture
def load(toy):
    return lambda source, *overrides: recipe.load(source, plugins=toy, overrides=overrides)


@pytest.fixture
def mistakes(load):
    """The message of a recipe that cannot be read."""

    def said(source, *overrides) -> str:
        with pytest.raises(RecipeError) as caught:
            load(source, *overrides)
        return str(caught.value)

    return said


# --- what is right --------------------------------------------------------------------------------------------------


def test_a_file_a_text_and_a_mapping_are_one_recipe(load, tmp_path):
    file = tmp_path / "my waves.yaml"
    file.write_text(TEXT)
    from_text, from_mapping = load(TEXT), load(yaml.safe_load(TEXT.replace("1e-3", "0.001")))
    assert from_text == from_mapping
    assert load(file) == load(str(file)) == load(TEXT, "name=my-waves"), "a file gives its name"
    assert load(file, "name=other").name == "other"
    assert from_text.train.learning_rate == 0.001
    assert from_text.sample.solver == Heun()
    assert from_text.sample.guidance == ClassifierFree(scale=2)
    assert recipe.load(json.dumps(yaml.safe_load(TEXT)), plugins=Plugins.discover()).sample.count == 8, "JSON is YAML"


def test_a_mapping_from_python_may_hold_nodes_and_is_not_changed(load):
    given = yaml.safe_load(TEXT) | {"sample": {"solver": Heun()}, "train": {"learning_rate": 0.001}}
    loaded = load(given, "train.steps=7", "sample.count=3")
    assert (loaded.sample.solver, loaded.train.steps, loaded.sample.count) == (Heun(), 7, 3)
    assert given["sample"] == {"solver": Heun()}


def test_what_is_written_out_reads_back_whole_with_every_default(load):
    first = load(TEXT)
    text = recipe.dump(first)
    assert load(text) == first
    assert recipe.dump(load(text)) == text
    for name in Recipe.model_fields:
        assert f"{name}:" in text
    assert "data: {kind: toy.waves, count: 60, fraction: 0.5, file: waves.txt}" in text.replace("\n   ", "")


def test_only_the_named_plugins_are_loaded(toy):
    loaded = Plugins.discover()
    recipe.load(TEXT, plugins=loaded)
    assert list(loaded._loaded) == ["toy"]


# --- how values are read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E5", 1e5), ("-.5", -0.5), ("3.", 3.0), ("7", 7), ("+7", 7), ("-0", 0),
        ("1_000", 1000), ("0x1F", 31), ("0o17", 15), ("017", 17), ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("no", "no"), ("on", "on"), ("y", "y"), ("1:30", "1:30"), ("2020-01-01", "2020-01-01"),
        ("1e", "1e"), ("0x", "0x"), ("_1", "_1"), ("e5", "e5"),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_people_write(text, value):
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


letters = st.text(st.characters(categories=["L", "N", "P", "S"]) | st.just(" "), min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | letters,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(letters, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(letters, json_values, max_size=3))
def test_what_json_says_is_read_as_json_reads_it(data):
    """JSON's own reader is the independent implementation."""
    assert read_text(json.dumps(data, ensure_ascii=False), "x").data == data


# --- what is wrong --------------------------------------------------------------------------------------------------


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(load, mistakes, tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text("""\
anylatent: 1
modality: {kind: toy, data: {kind: toy.waves, count: 0}}
tokeniser: {kind: grid}
denoiser: {kind: dit, depth: true, width: "wide"}
conditions: {label: {kind: clas}}
train:
  stesp: 30
  learning_rate: .nan
  ema: [0.9, no]
sample:
  solver: heun
  count: 2.5
  steps: 3
  steps: {x: 3}
  hooks: {}
  schedule: {kind: heun}
evaluate: [{kind: weather.quality}, {kind: frechet}]
""")
    text = mistakes(file, "train.bacth=3", "sample.solver=[", "sample.weights=3", "evaluate.7.kind=x", "oops").replace(str(file), "FILE")
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == f"{len(lines) - 1} mistakes:"
    expected = """\
FILE:2:54: modality.data.count: expected a number greater than or equal to 1; given 0
FILE:3:1: tokeniser: unknown key 'tokeniser'; did you mean 'tokenizer'?
FILE:4:30: denoiser.depth: expected a number; given true
FILE:4:43: denoiser.width: expected a whole number; given 'wide'
FILE:5:28: conditions.label.kind: there is no conditioner 'clas'; did you mean 'class'? (known: class, number, sequence)
FILE:7:3: train.stesp: unknown key 'stesp'; did you mean 'steps'?
FILE:8:18: train.learning_rate: expected a finite number; given .nan
FILE:9:14: train.ema.1: expected a number; given 'no'
FILE:12:10: sample.count: expected a whole number; given 2.5
FILE:14:3: sample.steps: given twice; first in line 13
FILE:15:10: sample.hooks: expected a list; given a mapping""".splitlines()
    for line in expected:
        assert line in lines
    positions = [tuple(map(int, line.split(":")[1:3])) for line in lines if line.startswith("FILE")]
    assert positions == sorted(positions)
    for part in (
        "FILE:1:1: tokenizer: is missing: expected tokenizer as `{kind: …}`, one of: ",
        "FILE:11:11: sample.solver: expected solver as `{kind: …}`, one of: ",
        "given 'heun': write `{kind: heun}`",
        "FILE:16:20: sample.schedule.kind: there is no schedule 'heun'; 'heun' is a solver (known: ",
        "FILE:17:19: evaluate.0.kind: no installed plugin provides 'weather': try `pip install anylatent-weather`, or --plugin FILE",
        "FILE:17:37: evaluate.1.features: is missing: expected features as `{kind: …}`, one of: ",
        "override 'train.bacth=3': train.bacth: unknown key 'bacth'; did you mean 'batch'?",
        "override 'sample.solver=[': is not YAML: ",
        "override 'sample.weights=3': sample.weights: expected text; given 3",
        "override 'evaluate.7.kind=x': evaluate: is a list of 2: it has no '7'",
        "override 'oops': expected path=value, such as train.steps=100",
    ):
        assert [line for line in lines if line.startswith(part) or part in line], part


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("modality.data.count=13", "modality.data: 13 waves bring bad luck: ask for 12"),
        ("denoiser.heads=5", "denoiser: width 32 cannot be shared by 5 heads of even width: choose a multiple of 10"),
        ("name=../up", "name: expected text like '^([A-Za-z0-9_][A-Za-z0-9_.+-]*)?$'; given '../up'"),
        ("objective.together=maybe", "objective.together: expected true or false; given 'maybe'"),
        ("train.betas=[1,2,3]", "train.betas: expected a list with at most 2 items, not 3; given a list of 3"),
        ("conditions=3", "conditions: expected a mapping; given 3"),
        ("train=3", "train: expected a mapping; given 3"),
        ("sample.guidance=", "sample.guidance: expected guidance as `{kind: …}`, one of: autoguidance, "),
        ("sample.guidance={scale: 3}", "sample.guidance: a guidance needs `kind`, one of: autoguidance, "),
        ("sample.guidance.kind=3", "sample.guidance.kind: a guidance needs `kind`, one of"),
        ("sample.solver.churn=1", "sample.solver.churn: unknown key 'churn': none is expected"),
        ("method.kind=toy.nothing", "method.kind: there is no method 'toy.nothing' (known: denoise)"),
        ("train.steps.x=1", "train.steps: is 30: it has no 'x'"),
        ("a..b=1", "expected path=value"),
        ("train.steps=1e999", "expected a finite number; given 1e999"),
        ("train.decay=linear", "train.decay: expected 'constant' or 'cosine'; given 'linear'"),
        ("seed=9223372036854775808", "seed: expected a number less than 9223372036854775808"),
    ],
)
def test_a_wrong_override_is_told_like_the_file(mistakes, change, said):
    message = mistakes(TEXT, change)
    assert message.startswith("1 mistake:\n  ")
    assert said in message
    assert f"override '{change}'" in message or "the recipe:" in message


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ("train.steps=100", lambda r: r.train.steps == 100),
        ("train.ema=[0.5,0.9]", lambda r: r.train.ema == (0.5, 0.9)),
        ("sample.solver.kind=euler", lambda r: r.sample.solver.kind == "euler"),
        ("sample.solver={kind: euler}", lambda r: r.sample.solver.kind == "euler"),
        ("sample.weights=", lambda r: r.sample.weights == ""),
        ("sample.streams.tokens.solver.kind=heun", lambda r: r.sample.solver_of("tokens") == Heun()),
        ("evaluate=[{kind: distinct}]", lambda r: len(r.evaluate) == 1),
        ("tokenizer.patch.0=4", lambda r: r.tokenizer.patch == (4,)),
        ("tokenizer.patch.1=4", lambda r: r.tokenizer.patch == (2, 4)),
        ("objective.together=no", lambda r: r.objective.together is False),
        ("modality.data.file=a=b", lambda r: str(r.modality.data.file) == "a=b"),
    ],
)
def test_overrides_set_one_value_each(load, change, read):
    assert read(load(TEXT, change))


def test_parts_can_be_read_alone_with_their_origin_named(toy):
    assert recipe.read(Solver, {"kind": "heun"}, plugins=toy) == Heun()
    with pytest.raises(RecipeError, match=r"--solver: kind: there is no solver 'huen'; did you mean 'heun'?"):
        recipe.read(Solver, {"kind": "huen"}, plugins=toy, origin="--solver")


def test_a_broken_plugin_is_told_where_the_recipe_names_it(tmp_path, monkeypatch):
    broken = plugins.Plugin("bad", "test-bad", "1.0", "x", "broken", "it was written for plugin API 99")
    with pytest.raises(RecipeError, match=r"the recipe:2:18: modality.kind: plugin 'bad' \(test-bad 1.0\) is broken: it was written for"):
        recipe.load(TEXT.replace("kind: toy,", "kind: bad,").replace("toy.waves", "bad.waves"), plugins=Plugins((broken,)))


def test_thousands_of_mistakes_are_counted_not_listed(mistakes):
    message = mistakes(TEXT + "\n".join(f"key{i}: 1" for i in range(5000)))
    assert message.startswith("5000 mistakes:")
    assert message.endswith("… and 4960 more")
    assert len(message.splitlines()) == 42
