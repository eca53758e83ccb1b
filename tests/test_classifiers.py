"""Classifiers of a recipe: trained after the denoiser, resumed, asked by the correction `classifier`, refused with reasons."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import digits, executed, losses

from anylatent import Run, execute, load_recipe
from anylatent.cli import requests
from anylatent.corrections.classifier import ClassifierGuidance
from anylatent.plan import make_plan
from anylatent.recipe import dump
from anylatent.training.events import Stage, Step

SMALL = {
    "network": {"kind": "dit", "depth": 1, "width": 16, "heads": 2},
    "train": {"steps": 4, "batch": 8, "warmup": 1, "checkpoint": 2, "log": 1, "ema": [0.5]},
}
ASKED = {"kind": "classifier", "condition": "label", "scale": 2.0}


def told(**changes: Any) -> dict[str, Any]:
    """Digits whose denoiser knows no condition, and whose classifier knows the label."""
    recipe = digits(conditions={}, classifiers={"label": SMALL}, evaluate=[], train={"steps": 2, "preview": 2}, **changes)
    recipe["sample"] = {"count": 3, "steps": 2, "corrections": [ASKED]}
    return recipe


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    return executed(told(), home / "whole")


def weights(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "classifiers" / "label" / "checkpoints" / "00000004").glob("*.safetensors")}


def test_a_recipe_trains_its_classifier_and_samples_by_it(run: Run) -> None:
    """The label is the classifier's alone; previews, made before it has learnt, go without."""
    assert [stage for stage, _, _ in losses(run.folder)] == ["denoiser"] * 2 + ["classifier label"] * 4
    assert set(weights(run.folder)) == {"trained.safetensors", "ema-0.5.safetensors", "optimizer.safetensors"}
    assert run.finished
    assert load_recipe(dump(run.recipe)) == run.recipe
    made = run.sample()
    assert [set(asked) for asked in made.asked] == [{"label"}] * 3, "asked as the training samples are"
    assert made.receipts["classifier"].counts["gradients"] == 3 * 2
    plain = run.sample(3, corrections=())
    assert plain.asked == [{}] * 3, "without the correction no one hears the label"
    assert not torch.equal(plain.state["tokens"].values, made.state["tokens"].values)
    asked = requests.conditions(run.recipe, ["label=3"])
    correction = requests.changes("", "", "", [], ["{kind: classifier, condition: label, scale: 0}"])
    assert asked == {"label": 3}
    assert torch.equal(run.sample(3, condition=asked, **correction).state["tokens"].values, plain.state["tokens"].values), "scale 0"
    averaged, trained = run.classifier("label").state_dict(), Run.open(run.folder).recipe.classifiers["label"]
    assert trained.train.ema == (0.5,)
    assert not torch.equal(averaged["out.bias"], torch.zeros(10))


def test_an_interrupted_classifier_goes_on_where_it_was(run: Run, home: Path) -> None:
    """Losses and weights, bit for bit."""
    generator = Run.create(load_recipe(told()), home / "stopped").train()
    stages = []
    for event in generator:
        stages += [event.name] if isinstance(event, Stage) else []
        if isinstance(event, Step) and (event.stage, event.done) == ("classifier label", 3):
            generator.close()  # pyright: ignore[reportAttributeAccessIssue]
            break
    assert stages == ["latents", "denoiser", "classifier label"]
    stopped = Run.open(home / "stopped")
    assert not stopped.finished
    assert stopped.classifier("label").classes == list(range(10)), "what there is can be asked"
    for _ in Run.open(home / "stopped").train():
        pass
    assert losses(home / "stopped") == losses(run.folder)
    assert weights(home / "stopped") == weights(run.folder)


def test_what_a_run_cannot_be_asked_is_said(run: Run, home: Path) -> None:
    with pytest.raises(ValueError, match=r"samples are asked 'label', which the denoiser does not know, only its classifier: sample with "
                       r"the correction \{kind: classifier, condition: label\}"):  # fmt: skip
        run.sample(2, condition={"label": 3}, corrections=())
    with pytest.raises(ValueError, match=r"condition 'label': there is no class 11; the training set has 0, 1, 2"):
        run.sample(2, condition={"label": 11})
    message = (
        r"a correction asks the classifier of 'caption', and the recipe of .*whole trains none of it \(known: label\): "
        r"add `classifiers: \{caption: \{\}\}` to the recipe, and train"
    )
    with pytest.raises(ValueError, match=message):
        run.sample(2, corrections=(ClassifierGuidance(condition="caption"),))
    untrained = Run.create(load_recipe(told()), home / "untrained")
    with pytest.raises(FileNotFoundError, match=r"has no trained classifier of 'label' yet: `anylatent train .*untrained` goes on with it"):
        untrained.classifier("label")


def problems(**changes: Any) -> str:
    return "\n".join(make_plan(load_recipe(told() | changes)).problems)


def test_a_plan_says_what_will_be_told_apart() -> None:
    plan = make_plan(load_recipe(told()))
    assert not plan.problems
    facts = dict(plan.facts)["classifier of label"]
    assert facts.startswith("dit, ")
    assert facts.endswith("parameters, 10 classes; 4 steps of 8 samples")


def test_a_plan_refuses_what_cannot_be_told_apart() -> None:
    """A condition without a classifier, one that no record has, one that is no class, and a network that is told predictions."""
    assert "add `classifiers: {label: {}}` to the recipe, and train" in problems(classifiers={})
    assert "no record of 'image.digits' has the condition 'colour': its records have ['caption', 'label']" in problems(
        classifiers={"colour": {}}
    )
    number = problems(conditions={"label": {"kind": "number"}})
    assert "classifier of 'label': it tells classes, and the condition 'label' is of kind 'number': leave it out" in number
    recalling = SMALL | {"network": {"kind": "dit", "depth": 1, "width": 16, "heads": 2, "self_conditioning": 0.5}}
    assert "classifier of 'label': its network is told no prediction: set self_conditioning to 0" in problems(
        classifiers={"label": recalling}
    )


def test_a_correction_in_a_recipe_says_which_condition() -> None:
    for correction, said in (
        ({"kind": "classifier"}, r"sample\.corrections\.0\.condition: is missing: expected a value"),
        ({"kind": "classifier-function"}, "no recipe can say correction 'classifier-function': a function is given from Python only"),
    ):
        with pytest.raises(ValueError, match=said):
            load_recipe(told() | {"sample": {"corrections": [correction]}})


CONDITIONS = {
    "audio": "instrument", "image": "label", "joint": "label", "molecule": "caption", "points": "category", "robot": "task",
    "video": "direction",
}  # fmt: skip
"""A class of each modality's data; molecules have none but their names for people, of which there are many."""


@pytest.mark.slow
@pytest.mark.parametrize("modality", CONDITIONS)
def test_every_modality_is_guided_by_a_classifier_of_its_own(modality: str, tmp_path: Path) -> None:
    """From its smoke recipe: trained, sampled, each row as alone; only what is asked is guided."""
    condition = CONDITIONS[modality]
    overrides = ["train.steps=3", "train.preview=0", "evaluate=[]", "sample.count=4", "sample.steps=4", "sample.hooks=[]"]
    if modality == "robot":
        overrides.append("modality.data.tasks=[reach-v3, drawer-open-v3]")
    recipe = load_recipe(
        Path(__file__).parents[1] / "recipes" / modality / "smoke.yaml",
        overrides=[
            *overrides,
            f"classifiers={json.dumps({condition: SMALL})}",
            f"sample.corrections={json.dumps([ASKED | {'condition': condition}])}",
        ],
    )
    run = Run.create(recipe, tmp_path / modality)
    for _ in execute(run):
        pass
    assert run.finished
    value = run.classifier(condition).classes[0]
    together = run.sample(4, condition=[{condition: value}, {}, {condition: value}, {condition: value}], seed=5)
    rows = together.receipts["classifier"].rows
    assert {row: counts["gradients"] for row, counts in rows.items()} == {0: 4.0, 2: 4.0, 3: 4.0}
    alone = run.sample(1, condition={condition: value}, seed=7)
    for name, stream in alone.state.streams.items():
        own = stream.values[0][stream.mask[0]]
        torch.testing.assert_close(own, together.state[name].values[2][together.state[name].mask[2]], atol=1e-4, rtol=1e-4)
