"""Runs that go on from other runs: fine-tuning, and reflow."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_runs import digits, executed, losses, outcome

from anylatent import Run, execute, load_recipe
from anylatent.files import DamagedFile, read_json
from anylatent.known import Known
from anylatent.objective.coupling import Meeting, Stored
from anylatent.plan import PlanError, make_plan
from anylatent.recipe import dump
from anylatent.training.events import Saved, Step
from anylatent.training.latents import Latents

PAIRS = {"count": 12, "steps": 3, "seed": 40}


@pytest.fixture(scope="module", autouse=True)
def _one_kernel(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from anylatent.nn import kernels

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYLATENT_KERNELS", "torch")
        kernels.linear_kernel.cache_clear()
        yield
    kernels.linear_kernel.cache_clear()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that others start from."""
    return executed(digits(train={"steps": 6}), tmp_path_factory.mktemp("first") / "run")


def after(first: Run, **changes: Any) -> dict[str, Any]:
    return digits(start={"run": str(first.folder)}, **changes)


def reflow(first: Run, **pairs: Any) -> dict[str, Any]:
    recipe = after(first, objective={"coupling": {"kind": "stored"}, "times": {"kind": "u-shaped"}}, train={"steps": 4, "checkpoint": 2})
    return recipe | {"start": recipe["start"] | {"pairs": PAIRS | pairs}}


@pytest.fixture(scope="module")
def reflowed(first: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return executed(reflow(first), tmp_path_factory.mktemp("reflow") / "run")


def test_it_begins_with_the_others_tokenizer_and_weights(first: Run, tmp_path: Path) -> None:
    recipe = after(first, train={"steps": 1, "learning_rate": 1e-12, "ema": [0.5]}, seed=3)
    run = executed(recipe, tmp_path / "run")
    assert run.tokenizer.fingerprint() == first.tokenizer.fingerprint()
    begun = first.denoiser().state_dict()
    assert all(torch.allclose(x, begun[name], atol=1e-9) for name, x in run.denoiser("trained").state_dict().items())
    named = executed(recipe | {"start": recipe["start"] | {"weights": "trained"}}, tmp_path / "named")
    begun = first.denoiser("trained").state_dict()
    assert all(torch.allclose(x, begun[name], atol=1e-9) for name, x in named.denoiser("trained").state_dict().items())
    assert any(not torch.equal(x, begun[name]) for name, x in run.denoiser("trained").state_dict().items())


def test_it_needs_the_other_no_more_once_it_has_begun(first: Run, tmp_path: Path) -> None:
    """Interrupted and gone on with, it is what it is in one go; the other run may have been removed by then."""
    whole = executed(reflow(first), tmp_path / "whole")
    moved = tmp_path / "moved"
    shutil.copytree(first.folder, moved)
    recipe = reflow(first)
    recipe["start"]["run"] = str(moved)
    events = execute(Run.create(load_recipe(recipe), tmp_path / "broken"))
    for event in events:
        if isinstance(event, Saved) and event.what == "checkpoint":
            break
    events.close()
    shutil.rmtree(moved)
    for _ in execute(Run.open(tmp_path / "broken")):
        pass
    assert outcome(tmp_path / "broken") == outcome(whole.folder)
    assert losses(tmp_path / "broken") == losses(whole.folder)


def test_pairs_are_what_the_other_made_with_the_noise_it_was_made_of(first: Run, reflowed: Run) -> None:
    """The noise that the coupling gives row i, moved by the other run's denoiser, becomes the tokens of row i."""
    recipe = reflowed.recipe
    assert recipe.start is not None
    assert recipe.start.pairs is not None
    latents = Latents.read(reflowed.folder / "pairs" / "tokens.safetensors", first=PAIRS["seed"])
    assert len(latents) == PAIRS["count"]
    chosen = torch.tensor([7, 2, 11])
    clean = latents.batch(chosen, torch.tensor([900, 901, 902]))
    denoiser, spec = first.denoiser(), first.tokenizer.specs[0]
    path = denoiser.path(spec.name)
    meeting = Meeting(clean, {spec.name: clean[spec.name].mask}, lambda name, z: path.prior(spec, z, clean[name].mask), None, 5)
    asked = read_json(reflowed.folder / "pairs" / "asked.json")
    start = first.tokenizer.layout(torch.tensor([1, 2, 3]), [asked[i] for i in chosen.tolist()])
    made = first.generator(solver=recipe.start.pairs.solver, steps=3, guidance=recipe.start.pairs.guidance)(
        start, [asked[i] for i in chosen.tolist()], known=Known(prior=Stored().prior(meeting))
    )
    assert torch.allclose(made[spec.name].values, clean[spec.name].values, atol=1e-5)


def test_pairs_are_made_once(reflowed: Run, first: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [event for event in reflowed.train() if isinstance(event, Step) and event.stage == "pairs"]
    assert [(event.done, event.total) for event in seen] == [(12, 12)]
    (reflowed.folder / "pairs" / "asked.json").write_text("[]")
    with pytest.raises(DamagedFile, match=r"asked.json is damaged"):
        list(reflowed.train())


def problems(recipe: dict[str, Any]) -> str:
    with pytest.raises(PlanError) as error:
        make_plan(load_recipe(recipe)).require()
    return str(error.value)


def test_what_cannot_be_gone_on_from_is_refused_by_name(first: Run, tmp_path: Path) -> None:
    stored = digits(objective={"coupling": {"kind": "stored"}})
    unmade = "coupling 'stored' needs samples that a run made, with their noise: name that run, `start: {run: FOLDER, pairs: {}}`"
    assert unmade in problems(stored)
    assert unmade in problems(after(first, objective={"coupling": {"kind": "stored"}}))
    assert "is not a run: it has no recipe.yaml" in problems(digits(start={"run": str(tmp_path / "none")}))
    assert "start: there are no weights 'ema-0.1'" in problems(digits(start={"run": str(first.folder), "weights": "ema-0.1"}))
    other = after(first, tokenizer={"kind": "grid", "patch": [4, 4]})
    assert "by another tokenizer: a run goes on with the tokens of the one that it starts from; take over its `tokenizer`" in problems(
        other
    )
    unlike = after(first, conditions={})
    assert "knows the conditions ['label'], this recipe has []" in problems(unlike | {"sample": {}})
    wide = problems(after(first, denoiser={"kind": "dit", "depth": 1, "width": 32, "heads": 2}))
    assert f"start: the denoiser of {first.folder} is not this recipe's" in wide
    assert "has (16, " in wide


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ({"solver": {"kind": "ancestral"}}, "solver 'ancestral' adds noise of its own: take a deterministic one, 'dpm++2m' or 'heun'"),
        ({"schedule": {"kind": "restart"}}, "schedule 'restart' noises tokens again: take one that falls"),
        ({"best_of": {"count": 2, "energy": {"kind": "roughness"}}}, "best_of chooses among samples of other noise: leave it out"),
        ({"solver": {"kind": "unmask"}}, "solver 'unmask' needs the path 'masked'"),
    ],
)
def test_pairs_that_are_not_made_of_their_noise_alone_are_refused(first: Run, pairs: dict[str, Any], text: str) -> None:
    assert f"start.pairs: {text}" in problems(reflow(first, **pairs))


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ({"weights": "ema-0.123"}, "there are no weights 'ema-0.123': RUN keeps trained, ema-0.5, ema-0.9"),
        (
            {"guidance": {"kind": "autoguidance", "model": "nonsense"}},
            "guidance 'autoguidance' asks the denoiser 'nonsense': expected weights of RUN (trained, ema-0.5, ema-0.9), WEIGHTS@STEP",
        ),
        ({"guidance": {"kind": "autoguidance", "model": "trained@5"}}, "RUN has no checkpoint of step '5': it keeps 6"),
        (
            {"corrections": [{"kind": "classifier", "condition": "label"}]},
            "a correction asks the classifier of 'label', and the recipe of RUN trains none of it (known: none): add",
        ),
        (
            {"best_of": {"energy": {"kind": "molecule.property", "name": "logp", "target": 2.0}}},
            "energy 'molecule.property' judges molecules",
        ),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_pairs_are_checked_as_samples_are(first: Run, pairs: dict[str, Any], text: str) -> None:
    assert f"start.pairs: {text.replace('RUN', str(first.folder))}" in problems(reflow(first, **pairs))


def test_weights_that_were_trained_to_say_something_else_are_told(first: Run) -> None:
    assert make_plan(load_recipe(after(first))).notes == []
    changed = after(first, objective={"path": {"kind": "cosine"}, "prediction": "noise"}, sample={"steps": 2})
    plan = make_plan(load_recipe(changed))
    assert plan.problems == []
    said = f"start: the weights of {first.folder} learned to say velocity of stream 'tokens' on the path {{kind: rectified}}, and are"
    assert [note[: len(said)] for note in plan.notes] == [said]


def test_made_samples_may_be_learned_from_without_their_noise(first: Run) -> None:
    """Then it does not matter how they were made."""
    recipe = reflow(first, solver={"kind": "ancestral"})
    del recipe["objective"]["coupling"]
    assert make_plan(load_recipe(recipe)).problems == []


SMOKE = sorted((Path(__file__).parents[1] / "recipes").glob("*/smoke.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("path", SMOKE, ids=lambda path: path.parent.name)
def test_reflow_is_of_every_modality(path: Path, tmp_path: Path) -> None:
    """Trained tokenizers, ragged rows, several streams, given ones: what was made of a noise is learned from with that noise."""
    recipe = load_recipe(path)
    teacher = Run.create(recipe, tmp_path / "teacher")
    for _ in teacher.train():
        pass
    changes = {"start": {"run": str(teacher.folder), "pairs": {"count": 6, "steps": 2, "seed": 7}}}
    again = yaml.safe_load(dump(recipe)) | changes
    again["objective"]["coupling"] = {"kind": "stored"}
    again["train"] |= {"steps": 3, "checkpoint": 3, "preview": 0}
    run = Run.create(load_recipe(again), tmp_path / "reflow")
    for _ in run.train():
        pass
    assert all(math.isfinite(loss) for _, _, loss in losses(run.folder))
    made = teacher.sample(6, seed=7, steps=2, solver=run.recipe.start.pairs.solver, guidance=run.recipe.start.pairs.guidance)
    latents = Latents.read(run.folder / "pairs" / "tokens.safetensors", first=7)
    clean = latents.batch(torch.arange(6), torch.arange(6))
    assert clean.rows.tolist() == made.seeds
    for name, stream in made.state.streams.items():
        assert torch.allclose(clean[name].values, stream.values * stream.mask[..., None], atol=1e-5)
    assert len(run.sample(2, steps=2)) == 2
