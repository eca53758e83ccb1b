from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from toys import Toy, WaveList, Waves, toy_recipe

from anylatent.build import TokenizerFacts, TokenizerFolder, build_dataset, build_denoiser, build_tokenizer, condition_values
from anylatent.components import core_components
from anylatent.corrections.energy import EnergyGuidance
from anylatent.data import Dataset, DatasetConfig, Record, Split
from anylatent.energies import FunctionEnergy, SampleFunction
from anylatent.files import DamagedFile, read_json, write_json
from anylatent.generation import RowGenerator
from anylatent.joint.energies import PartEnergy
from anylatent.node import Components
from anylatent.plan import PlanError, make_plan
from anylatent.recipe.model import Recipe
from anylatent.sampling import Sampling
from anylatent.solvers.discrete import AncestralDiscrete
from anylatent.solvers.value_search import ValueSearch
from anylatent.testing import Listed
from anylatent.training.checkpoint import load_weights


class Odd(DatasetConfig, kind="toy.odd"):
    """Data with something the matter."""

    what: str = ""
    summary: ClassVar[str] = "odd"

    def build(self, split: Split) -> Dataset:
        waves = WaveList(Waves(count=8), split)
        records = [waves[i] for i in range(len(waves))]
        match self.what:
            case "missing":
                raise FileNotFoundError("the data of 'toy.odd' is not on this machine: run `anylatent data fetch toy.odd`")
            case "empty":
                records = []
            case "incomplete":
                records = [Record(r.sample, {} if i % 2 else {"label": r.conditions["label"]}) for i, r in enumerate(records)]
            case "uneven":
                records[3] = Record(records[3].sample[:7], records[3].conditions)
        dataset = Listed(records)
        dataset.problems = ("wave 7: it is silent", "wave 9: it is silent") if self.what in ("partly", "empty") else ()
        return dataset


COMPONENTS = Components([*core_components(), Toy, Waves, Odd])


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate(toy_recipe(**changes), context={"components": COMPONENTS})


def odd(what: str) -> dict[str, Any]:
    return {"kind": "toy", "data": {"kind": "toy.odd", "what": what}}


# ---------------------------------------------------------------------------------------------------------------- build


def built(of: Recipe):
    dataset = build_dataset(of, "train")
    asked = condition_values(of, dataset)
    tokenizer = build_tokenizer(of, dataset[0].sample)
    return tokenizer, build_denoiser(of, tokenizer.specs, {name: [row.get(name) for row in asked] for name in of.conditions})


AUTOENCODER = {"kind": "autoencoder", "inner": {"kind": "grid", "patch": [2]}, "width": 16, "heads": 2, "depth": 1}


def test_initial_weights_are_the_recipes_seeds() -> None:
    """Whatever random numbers were drawn before, and none are taken away."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = [module.state_dict() for module in built(recipe(tokenizer=AUTOENCODER))]
    assert torch.equal(torch.rand(3), expected), "the process's own random numbers are left alone"
    again = [module.state_dict() for module in built(recipe(tokenizer=AUTOENCODER))]
    other = [module.state_dict() for module in built(recipe(tokenizer=AUTOENCODER, seed=1))]
    for a, b, c in zip(first, again, other, strict=True):
        assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())
        assert any(not torch.equal(tensor, c[name]) for name, tensor in a.items())


def test_conditions_of_records_are_those_that_the_recipe_names() -> None:
    named = recipe(modality=odd("incomplete"))
    asked = condition_values(named, build_dataset(named, "train"))
    assert [sorted(row) for row in asked] == [["label"], []] * 4
    _, denoiser = built(named)
    assert denoiser.conditions.named["label"].examples, "records without a class do not keep the others from being built"
    assert condition_values(recipe(conditions={}), Waves().build("train"))[0] == {}


def test_a_condition_that_no_record_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ValueError, match=r"no record of 'toy\.waves' has the condition 'colour': its records have \['label', 'pitch', 'word'\]"
    ):
        built(recipe(conditions={"colour": {"kind": "class"}}))


def test_data_without_samples_are_refused_with_the_first_problem() -> None:
    with pytest.raises(ValueError, match=r"data set 'toy\.odd' has no train samples: 2 could not be read, the first: wave 7: it is silent"):
        build_dataset(recipe(modality=odd("empty")), "train")


# ----------------------------------------------------------------------------------------------------------- on the disk


def saved(folder: Path, of: Recipe) -> TokenizerFolder:
    tokenizer, denoiser = built(of)
    waves = Waves().build("train")
    tokenizer.prepare([waves[i].sample for i in range(20)])
    tokenizer.fit([waves[i].sample for i in range(20)])
    home = TokenizerFolder(folder)
    assert not home.exists
    examples = {name: conditioner.examples for name, conditioner in denoiser.conditions.named.items()}
    facts = TokenizerFacts(
        tokenizer=tokenizer.facts, fingerprint=tokenizer.fingerprint(), conditions=examples, asked=[{"label": 1}], sample="", left_out=0,
        first_left_out="",
    )  # fmt: skip
    home.save(tokenizer, facts)
    assert home.exists
    return home


def test_a_saved_tokenizer_is_the_same_when_loaded(tmp_path: Path) -> None:
    home = saved(tmp_path, recipe(tokenizer=AUTOENCODER))
    loaded = home.load_into(build_tokenizer(recipe(tokenizer=AUTOENCODER), Waves().build("train")[0].sample))
    assert loaded.fingerprint() == home.facts().fingerprint
    assert not loaded.training


def test_a_saved_tokenizer_is_not_loaded_into_another(tmp_path: Path) -> None:
    home = saved(tmp_path, recipe(tokenizer=AUTOENCODER))
    example = Waves().build("train")[0].sample
    with pytest.raises(DamagedFile, match=r"holds another tokenizer than the recipe's 'autoencoder': was the recipe changed\?"):
        home.load_into(build_tokenizer(recipe(tokenizer=AUTOENCODER | {"kl": 0.5}), example))
    with pytest.raises(
        DamagedFile, match=r"holds other weights: 'enter.weight' has \(16, 2\), expected \(32, 2\) \(\d+ differ\); it is of another recipe"
    ):
        home.load_into(build_tokenizer(recipe(tokenizer=AUTOENCODER | {"width": 32}), example))


@pytest.mark.parametrize("file", ["facts.json", "tokenizer.safetensors"])
def test_a_changed_file_is_named(file: str, tmp_path: Path) -> None:
    home = saved(tmp_path, recipe())
    content = bytearray((tmp_path / file).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DamagedFile, match=rf"{file} is damaged: its sha256 is not the one written beside it"):
        home.facts()


def test_facts_of_another_version_are_named(tmp_path: Path) -> None:
    from anylatent.files import seal

    home = saved(tmp_path, recipe())
    facts = read_json(tmp_path / "facts.json")
    del facts["asked"]
    write_json(tmp_path / "facts.json", facts)
    seal(tmp_path)
    with pytest.raises(DamagedFile, match=r"facts\.json was written by another version: 1 of its facts differ"):
        home.facts()


def test_weights_of_another_recipe_are_refused_by_name(tmp_path: Path) -> None:
    _, denoiser = built(recipe())
    tensors = dict(denoiser.state_dict())
    name = next(iter(tensors))
    cases = {"missing": {n: x for n, x in tensors.items() if n != name}, "more": tensors | {"more": torch.zeros(2)}}
    with pytest.raises(DamagedFile, match=rf"'{name}' has nothing, expected \("):
        load_weights(denoiser, cases["missing"], tmp_path)
    with pytest.raises(DamagedFile, match=r"'more' has \(2,\), expected nothing"):
        load_weights(denoiser, cases["more"], tmp_path)


# ----------------------------------------------------------------------------------------------------------------- plan


def facts(of: Recipe) -> dict[str, str]:
    plan = make_plan(of)
    assert not plan.problems, plan.problems
    return dict(plan.facts)


def test_a_plan_says_what_a_recipe_amounts_to() -> None:
    said = facts(recipe(modality={"kind": "toy", "data": {"kind": "toy.waves", "ragged": True}}))
    assert said["modality"] == "toy: float32 tensor (times, 1), about -1 to 1.5"
    assert said["data"] == "toy.waves, 64 training samples"
    assert said["tokenizer"] == "grid: tokens (continuous, 2 channels, axes t/s)"
    assert said["tokens a sample"] == "4 to 8 (of 64 looked at)"
    _, denoiser = built(recipe())
    parameters = sum(p.numel() for p in denoiser.parameters())
    assert said["denoiser"] == f"dit, {parameters:,} parameters; tokens by rectified, predicting velocity"
    assert said["conditions"] == "label (class, global)"
    assert said["training"] == "12 steps of 8 samples: 1.5 epochs"
    assert said["sampling"] == "6 samples, 4 steps of sde-dpm++: 4 network calls each"


def test_a_plan_counts_the_calls_of_solver_and_guidance() -> None:
    guided = {"solver": {"kind": "heun"}, "guidance": {"kind": "classifier-free", "scale": 2.0}}
    assert facts(recipe(sample=guided))["sampling"].endswith("4 steps of heun: 14 network calls each"), "the last step asks once"
    rising = {"schedule": {"kind": "resample", "repeats": 2}}
    weak = {"guidance": {"kind": "autoguidance", "model": "trained"}}
    said = [
        facts(recipe(sample={"steps": 4} | changes))["sampling"].partition(": ")[2]
        for changes in (rising, weak, {"solver": {"kind": "adaptive"}})
    ]
    assert said == ["6 network calls each", "8 network calls each", "as many network calls as 'adaptive' needs"]


def test_a_plan_prints_in_columns_with_notes() -> None:
    plan = make_plan(recipe(modality=odd("partly")))
    text = str(plan)
    assert "note: 2 records could not be read; the first: wave 7: it is silent" in text
    assert len({line.index("  ") for line in text.splitlines() if line.startswith(("tokens a sample",))}) == 1
    assert plan.require() is plan


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"modality": odd("missing")}, r"the data of 'toy\.odd' is not on this machine: run `anylatent data fetch toy\.odd`"),
        ({"modality": odd("empty")}, r"data set 'toy\.odd' has no train samples: 2 could not be read"),
        ({"modality": odd("uneven")}, r"sample 3: expected finite float32 numbers"),
        ({"tokenizer": {"kind": "grid", "patch": [3]}}, r"sample 0: expected finite float32 numbers \(t \(a multiple of 3\)"),
        ({"tokenizer": {"kind": "grid", "patch": [2, 2]}}, r"patch \[2, 2\] has 2 numbers, the samples have 1 axes \(t\)"),
        ({"conditions": {"colour": {"kind": "class"}}}, r"no record of 'toy\.waves' has the condition 'colour'"),
        ({"conditions": {"word": {"kind": "number"}}}, r"condition 'word': expected 1 finite number, given 'a"),
        ({"conditions": {"word": {"kind": "sequence", "heads": 5}}}, r"condition 'word': width 16 .* cannot be shared by the 5 heads"),
        ({"conditions": {"word": {"kind": "sequence", "slot": "global"}}}, r"condition 'word': a sequence is tokens: choose slot"),
        (
            {"conditions": {}, "sample": {"guidance": {"kind": "classifier-free", "scale": 2.0}}},
            r"guidance 'classifier-free' needs a condition",
        ),
        (
            {"conditions": {"label": {"kind": "class", "dropout": 0}}, "sample": {"guidance": {"kind": "classifier-free", "scale": 2.0}}},
            r"guidance 'classifier-free' needs a null that training has seen: give the conditions \['label'\] a dropout above 0",
        ),
        ({"sample": {"streams": {"other": {}}}}, r"there is no stream 'other': the tokenizer makes \['tokens'\]"),
        ({"objective": {"streams": {"other": {}}}}, r"there is no stream 'other' for the objective: the tokenizer makes \['tokens'\]"),
        ({"sample": {"weights": "ema-0.7"}}, r"there will be no weights 'ema-0\.7': this training keeps trained, ema-0\.5, ema-0\.9"),
        ({"sample": {"count": 1}}, r"metric 'distinct' needs at least 2 samples: sample\.count is 1"),
        ({"sample": {"hooks": [{"kind": "residual-cache"}] * 2}}, r"a hook is named twice"),
        (
            {"sample": {"guidance": {"kind": "autoguidance", "model": "weak"}}},
            r"'autoguidance' asks the denoiser 'weak': expected weights of this run \(trained, ema-0\.5, ema-0\.9\), WEIGHTS@",
        ),
        (
            {"sample": {"guidance": {"kind": "autoguidance", "model": "trained@1"}}, "train": {"steps": 6, "checkpoint": 2}},
            r"there will be no checkpoint of step '1': this training keeps 4, 6",
        ),
    ],
)
def test_what_cannot_run_is_said_before_anything_is_trained(changes: dict[str, Any], problem: str) -> None:
    plan = make_plan(recipe(**changes))
    with pytest.raises(PlanError, match=problem):
        plan.require()
    assert "problem: " in str(plan)


def test_what_only_python_can_hold_is_refused_in_a_recipe_by_name() -> None:
    with pytest.raises(ValueError, match="no recipe can say energy 'function': a function is given from Python only"):
        recipe(sample={"solver": {"kind": "value-search", "energy": {"kind": "function", "function": "len"}}})


def test_weights_checkpoints_and_runs_that_will_be_there_are_let_pass(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("a run's")
    for model in ("trained", "ema-0.9", "trained@4", str(tmp_path)):
        sample = {"guidance": {"kind": "autoguidance", "model": model}}
        assert make_plan(recipe(sample=sample, train={"steps": 6, "checkpoint": 2})).problems == []


IN_PYTHON = FunctionEnergy(function=lambda x, layout: x.sum((1, 2)))
OF_SAMPLES = SampleFunction(function=lambda samples: torch.zeros(len(samples)))


@pytest.mark.parametrize(
    "sample",
    [
        {"solver": {"kind": "unmask"}},
        {"schedule": {"kind": "pyramid", "axis": "z"}},
        {"guidance": {"kind": "windows", "windows": [{"axis": "z", "size": 4}]}},
        {"guidance": {"kind": "per-condition", "scales": [{"condition": "mood", "scale": 2.0}]}},
        {"guidance": {"kind": "perturbed"}, "hooks": [{"kind": "perturb-attention"}]},
        {"corrections": [{"kind": "dps", "measurement": {"kind": "average", "over": {"t": 2}}}]},
        {"corrections": [EnergyGuidance(energy=IN_PYTHON, stream="other")]},
        {"solver": ValueSearch(energy=IN_PYTHON, solver=AncestralDiscrete())},
        {"solver": {"kind": "value-search", "energy": {"kind": "roughness", "along": "z"}}},
        {"solver": ValueSearch(energy=PartEnergy(part="sound", energy=OF_SAMPLES))},
        {"corrections": [EnergyGuidance(energy=OF_SAMPLES)]},
        {"best_of": {"energy": OF_SAMPLES, "stream": "tokens"}},
        {"best_of": {"energy": PartEnergy(part="sound", energy=OF_SAMPLES)}},
    ],
    ids=lambda sample: "-".join(sample),
)
def test_a_plan_refuses_in_the_words_of_the_engine(sample: dict[str, Any]) -> None:
    """Whether the methods come from a recipe or from Python: nothing is trained to be refused later."""
    sampling = Sampling.model_validate({"steps": 2, **sample}, context={"components": COMPONENTS})
    asked = recipe().model_copy(update={"sample": sampling, "evaluate": []})
    planned = make_plan(asked).problems
    assert planned
    tokenizer, denoiser = built(asked)
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (its whole text is compared below)
        next(RowGenerator(denoiser, sampling, False, decode=tokenizer.decode).stream(tokenizer.layout(torch.arange(2)), [{}] * 2))
    assert str(refused.value) == "; ".join(planned)


@pytest.mark.parametrize("numbers", [{"ema": [0.5, 1.0]}, {"steps": 0}, {"betas": [0.9, 1.0]}, {"batch": 0}, {"learning_rate": 0}])
def test_numbers_that_cannot_train_are_refused_in_the_recipe(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"train\.{next(iter(numbers))}"):
        recipe(train=numbers)


def test_all_problems_are_said_at_once() -> None:
    changes: dict[str, Any] = {"sample": {"count": 1, "weights": "ema-0.7", "streams": {"other": {}}}}
    with pytest.raises(PlanError) as caught:
        make_plan(recipe(**changes)).require()
    lines = str(caught.value).splitlines()
    assert lines[0] == "this recipe cannot run:"
    assert len(lines) == 4
    assert all(line.startswith("  - ") for line in lines[1:])
