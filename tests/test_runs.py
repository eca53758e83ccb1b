"""A run, whole: made, interrupted, resumed, opened again, asked for samples."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import yaml
from PIL import Image
from small_runs import digits, executed, losses, outcome
from toys import toy_recipe

import anylatent
from anylatent import Run, execute, load_recipe
from anylatent.best_of import BestOf
from anylatent.cli.judging import judge
from anylatent.corrections.clip import Clip
from anylatent.denoiser import Corruption, Denoiser
from anylatent.editing.masked_completion import MaskedCompletion
from anylatent.editing.noise_space import NoiseSpace
from anylatent.editing.translate import Translate
from anylatent.energies import Roughness
from anylatent.files import read_json
from anylatent.generation import Settled
from anylatent.guidance.none import Unguided
from anylatent.metrics.denoiser_knows import DiffusionClassifier, Probe
from anylatent.metrics.distinct import Distinct
from anylatent.recipe import dump
from anylatent.run import Samples
from anylatent.sampling import StreamSampling
from anylatent.schedules import Pyramid, Rho
from anylatent.solvers.heun import Heun
from anylatent.training.events import Event, Saved, Stage, Step

KERNELS = {"ANYLATENT_KERNELS": "torch"}  # measured anew in each process, and not to the bit alike


@pytest.fixture(scope="module", autouse=True)
def _one_kernel() -> Iterator[None]:
    from anylatent.nn import kernels

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYLATENT_KERNELS", "torch")
        kernels.linear_kernel.cache_clear()
        yield
    kernels.linear_kernel.cache_clear()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def whole(home: Path, events: list[Event]) -> Run:
    """An uninterrupted run."""
    run = Run.create(load_recipe(digits()), home / "whole")
    events.extend(execute(run))
    return run


# ---------------------------------------------------------------------------------------------------- what a run leaves


def test_stages_come_in_order_and_each_comes_to_its_end(whole: Run, events: list[Event]) -> None:
    assert [event.name for event in events if isinstance(event, Stage)] == ["latents", "denoiser", "sample", "evaluate", "report"]
    last = {event.stage: event for event in events if isinstance(event, Step)}
    assert {stage: event.done for stage, event in last.items() if stage != "latents"} == {"denoiser": 20, "sample": 10, "evaluate": 1}
    saved = [event.what for event in events if isinstance(event, Saved)]
    assert saved == ["checkpoint", "preview"] * 4 + ["samples", "evaluation", "report"]
    assert all(event.path.exists() or event.what == "checkpoint" for event in events if isinstance(event, Saved))


def test_the_folder_holds_all_that_the_recipe_says(whole: Run) -> None:
    folder = whole.folder
    assert {path.name for path in folder.iterdir()} == {
        "recipe.yaml", "environment.json", "metrics.jsonl", "tokenizer", "checkpoints", "previews", "samples", "evaluation.json",
        "timings.json", "report.html",
    }  # fmt: skip
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == ["00000018", "00000020"]
    assert [path.name for path in sorted((folder / "previews").iterdir())] == [f"{step:08d}.png" for step in (6, 12, 18, 20)]
    assert [path.name for path in sorted((folder / "samples").glob("0*.png"))] == [f"{i:04d}.png" for i in range(10)]
    assert [step for _, step, _ in losses(folder)] == list(range(1, 21))
    assert set(read_json(folder / "timings.json")) == {"plan", "latents", "denoiser", "sample", "evaluate", "report"}
    assert all(seconds >= 0 for seconds in read_json(folder / "timings.json").values())
    assert {"python", "platform", "threads", "linear_kernel", "packages"} <= set(read_json(folder / "environment.json"))
    assert not [path for path in folder.rglob("*") if path.name.endswith((".part", ".old"))], "nothing half written is left"


def test_the_recipe_is_written_whole(whole: Run) -> None:
    text = (whole.folder / "recipe.yaml").read_text()
    assert load_recipe(whole.folder / "recipe.yaml") == whole.recipe
    assert dump(load_recipe(text)) == text
    assert yaml.safe_load(text)["train"]["warmup"] == 2
    assert yaml.safe_load(text)["sample"]["solver"]["kind"] == "sde-dpm++", "defaults are written out"


def test_samples_are_written_with_what_they_were_asked_and_what_was_done(whole: Run) -> None:
    folder = whole.folder / "samples"
    told = read_json(folder / "samples.json")
    assert [sample["seed"] for sample in told] == list(range(10))
    assert all(0 <= sample["asked"]["label"] <= 9 for sample in told)
    receipts = read_json(folder / "receipts.json")
    assert receipts["engine"]["counts"]["network_calls"] == 10 * 4 * 2, "rows x steps x branches"
    assert receipts["engine"]["counts"]["guidance_calls"] == 10 * 4
    assert {row: counts["network_calls"] for row, counts in receipts["engine"]["rows"].items()} == {str(row): 8 for row in range(10)}
    assert receipts["seconds"] > 0
    made = whole.sample()
    assert repr(made).startswith("Samples(10 of seeds 0 to 9, made in "), "one line, whatever they are"
    assert whole.finished
    for index, sample in enumerate(made.samples):
        with Image.open(folder / f"{index:04d}.png") as picture:
            assert picture.size == (8, 8)
            expected = ((sample.clamp(-1, 1) + 1) * 127.5).round()[..., 0]
            assert torch.equal(torch.from_numpy(numpy.array(picture)), expected.to(torch.uint8))


class Resources(HTMLParser):
    """Everything that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.found += [named[name] or "" for name in ("src", "srcset", "data", "poster") if name in named]
        if tag in ("link", "image", "use", "base"):
            self.found += [named[name] or "" for name in ("href", "xlink:href") if name in named]
        assert tag not in ("iframe", "object", "embed")


def test_the_report_is_one_page_that_loads_nothing(whole: Run) -> None:
    """Curves, previews, samples, metrics with n and interval, receipts, the recipe, how to reproduce."""
    text = (whole.folder / "report.html").read_text()
    page = Resources()
    page.feed(text)
    assert [resource[:80] for resource in page.found if not resource.startswith(("data:", "#"))] == []
    assert "@import" not in text
    assert sum(resource.startswith("data:image/png") for resource in page.found) >= 5, "four previews and the sheet"
    for said in ("unique", "novel", "network calls", "sde-dpm++", "anylatent.load", "distinct", "10 of 10 samples"):
        assert said in text, said


# ---------------------------------------------------------------------------------------------------- interrupt, resume


def stopped(run: Run, stage: str, done: int) -> None:
    """Executed up to a step of a stage, then closed as an interrupt does."""
    generator = execute(run)
    for event in generator:
        if isinstance(event, Step) and (event.stage, event.done) == (stage, done):
            generator.close()  # pyright: ignore[reportAttributeAccessIssue]
            return
    raise AssertionError(f"there was no step {done} of {stage}")


def assert_same(folder: Path, expected: Path) -> None:
    assert losses(folder) == losses(expected)
    made, other = outcome(folder), outcome(expected)
    assert made.keys() == other.keys()
    assert [name for name, content in made.items() if content != other[name]] == []


def test_interrupted_often_and_resumed_is_uninterrupted(whole: Run, home: Path) -> None:
    """Losses, weights, moments and samples, bit for bit."""
    folder = home / "interrupted"
    for stage, done in (("denoiser", 3), ("denoiser", 8), ("denoiser", 18), ("denoiser", 20), ("sample", 4)):
        stopped(Run.create(load_recipe(digits()), folder), stage, done)
    executed(digits(), folder)
    assert_same(folder, whole.folder)
    assert [path.name for path in sorted((folder / "previews").iterdir())] == [
        path.name for path in sorted((whole.folder / "previews").iterdir())
    ]


def test_a_tokenizers_training_is_resumed_too(home: Path) -> None:
    tokenizer = {"kind": "autoencoder", "inner": {"kind": "grid", "patch": [4, 4]}, "width": 16, "heads": 2, "depth": 1}
    recipe = digits(tokenizer=tokenizer | {"train": {"steps": 8, "batch": 16, "checkpoint": 3, "log": 1, "ema": []}}, train={"steps": 3})
    plain = executed(recipe, home / "tokenizer")
    folder = home / "tokenizer-resumed"
    for stage, done in (("tokenizer", 1), ("tokenizer", 5), ("tokenizer", 8), ("denoiser", 2)):
        stopped(Run.create(load_recipe(recipe), folder), stage, done)
    executed(recipe, folder)
    assert_same(folder, plain.folder)
    assert [stage for stage, _, _ in losses(folder)] == ["tokenizer"] * 8 + ["denoiser"] * 3


SLOW = digits(train={"steps": 160, "checkpoint": 20, "preview": 0})
"""Long enough to be caught in the middle."""


def command(*arguments: object, cwd: Path) -> "subprocess.Popen[str]":
    program = str(Path(sys.executable).with_name("anylatent"))
    return subprocess.Popen(
        [program, *map(str, arguments)], cwd=cwd, env=os.environ | KERNELS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's background jobs are born deaf to it
    )  # fmt: skip


def wait_for(condition: Any, process: "subprocess.Popen[str]", seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"it ended too soon: {process.communicate()[0]}"
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.01)


def logged(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


@pytest.fixture(scope="module")
def slow_run(home: Path) -> Path:
    """The same, uninterrupted."""
    executed(SLOW, home / "slow")
    return home / "slow"


@pytest.mark.parametrize(("signal_number", "after"), [(signal.SIGKILL, 47), (signal.SIGINT, 23)], ids=["kill -9", "Ctrl-C"])
def test_a_process_that_is_stopped_loses_nothing(signal_number: signal.Signals, after: int, slow_run: Path, home: Path) -> None:
    """Stopped by the system or by a person in the middle of training, resumed by the same command."""
    name = signal_number.name
    (home / f"{name}.yaml").write_text(yaml.safe_dump(SLOW))
    folder = home / name
    process = command("run", home / f"{name}.yaml", "--out", folder, cwd=home)
    wait_for(lambda: logged(folder) >= after, process)
    process.send_signal(signal_number)
    told, _ = process.communicate(timeout=60)
    assert after <= logged(folder) < 160, "it was stopped in the middle"
    if signal_number == signal.SIGINT:
        assert process.returncode == 130
        assert f"to go on from the last checkpoint: anylatent run {folder}" in told
        assert "Traceback" not in told
    run = Run.open(folder)
    notes = [event.text for event in execute(run) if hasattr(event, "text")]
    assert len(notes) == 1
    assert re.fullmatch(r"resumed denoiser at step \d*[02468]0 of 160", notes[0])
    assert_same(folder, slow_run)


def test_a_finished_run_is_not_trained_again(whole: Run, home: Path) -> None:
    before = outcome(whole.folder), (whole.folder / "metrics.jsonl").read_bytes()
    trained = [event for event in Run.open(whole.folder).train() if isinstance(event, Step) and event.stage == "denoiser"]
    assert trained == []
    assert (outcome(whole.folder), (whole.folder / "metrics.jsonl").read_bytes()) == before


def test_a_folder_of_another_recipe_is_left_alone(whole: Run) -> None:
    with pytest.raises(ValueError, match=r"whole holds a run of another recipe: choose another folder with --out, or remove it"):
        Run.create(load_recipe(digits(seed=1)), whole.folder)


# ------------------------------------------------------------------------------------------------------------- sampling


@pytest.fixture(scope="module")
def loaded(whole: Run) -> Run:
    return anylatent.load(whole.folder)


def stacked(samples: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(samples)


def test_saved_is_loaded(whole: Run, loaded: Run) -> None:
    assert torch.equal(stacked(loaded.sample(4).samples), stacked(whole.sample(4).samples))


def test_a_stream_hands_out_beginnings_of_the_samples(loaded: Run) -> None:
    """Rows of pixels that are done, as many calls apart as the lag says; the samples come last, as `sample` makes them."""
    changes: dict[str, Any] = {"steps": 3, "batch": 2, "schedule": Pyramid(lag=2, axis="y", block=4.0), "guidance": Unguided()}
    *parts, made = loaded.stream(3, {"label": 1}, 5, **changes)
    assert isinstance(made, Samples)
    assert torch.equal(stacked(made.samples), stacked(loaded.sample(3, {"label": 1}, 5, **changes).samples))
    assert made.seeds == [5, 6, 7]
    for row in range(3):
        mine = [part for part in parts if isinstance(part, Settled) and part.row == row]
        assert [part.receipts["engine"]["network_calls"] for part in mine] == [3, 5]
        assert [part.spans["tokens"]["y"] for part in mine] == [(0.5, 2.5), (4.5, 6.5)]
        assert [len(part.sample) for part in mine] == [4, 8]
        for part in mine:
            assert torch.equal(part.sample, made.samples[row][: len(part.sample)])
            assert torch.equal(part.tokens("tokens"), made.state["tokens"].values[row, part.fresh["tokens"]])
    with pytest.raises(ValueError, match="colour"):
        next(loaded.stream(1, {"colour": 1}))


def test_a_sample_is_its_seeds_alone_and_together(loaded: Run) -> None:
    """Whatever count, batch and neighbours are; and what it is asked, too, when nothing is said."""
    together = loaded.sample(9, seed=100, batch=4)
    for row in (0, 5, 8):
        alone = loaded.sample(1, seed=100 + row)
        assert alone.seeds == [together.seeds[row]]
        assert alone.asked == [together.asked[row]]
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)
    assert not torch.isclose(together[0], together[1]).all()


def test_the_same_seed_is_the_same_sample_in_another_process(loaded: Run) -> None:
    code = (
        "import sys, torch, anylatent; torch.set_num_threads(1)\n"
        f"made = anylatent.load({str(loaded.folder)!r}).sample(3, {{'label': 3}}, seed=7)\n"
        "print(torch.stack(made.samples).flatten().tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | KERNELS, capture_output=True, text=True, check=True)
    here = stacked(loaded.sample(3, {"label": 3}, seed=7).samples).flatten()
    assert json.loads(done.stdout) == here.tolist()


def test_what_is_asked_is_one_for_all_or_one_each(loaded: Run) -> None:
    threes, each = loaded.sample(3, {"label": 3}), loaded.sample(3, [{"label": 3}, {"label": 5}, {}])
    torch.testing.assert_close(threes[0], each[0], atol=1e-5, rtol=0)
    assert not torch.isclose(threes[1], each[1]).all()
    assert each.asked == [{"label": 3}, {"label": 5}, {}]


def test_requests_change_how_samples_are_made(loaded: Run) -> None:
    plain = loaded.sample(2, {"label": 1})
    for changes in ({"steps": 7}, {"guidance": 4.0}, {"weights": "trained"}, {"seed": 3}):
        assert not torch.isclose(stacked(loaded.sample(2, {"label": 1}, **changes).samples), stacked(plain.samples)).all(), changes
    assert torch.equal(stacked(loaded.sample(2, {"label": 1}, weights="ema-0.9").samples), stacked(plain.samples)), "the longest average"


def test_a_request_leaves_out_what_the_recipe_has(loaded: Run) -> None:
    more = {"best_of": BestOf(count=2, energy=Roughness()), "corrections": (Clip(limit=0.1),)}
    searching = Run(loaded.folder, loaded.recipe.model_copy(update={"sample": loaded.recipe.sample.model_copy(update=more)}))
    least: dict[str, Any] = {"steps": 1, "corrections": None}
    assert set(searching.sample(1, **least).receipts) >= {"best-of", "clip"}, "None: as the recipe says"
    off: dict[str, Any] = {"best_of": None, "corrections": ()}
    bare = searching.sample(1, steps=1, **off)
    assert set(bare.receipts) == {"classifier-free", "engine"}
    assert bare.receipts["engine"].counts["network_calls"] == 2, "with and without the label"
    assert searching.generator(**off).sampling.best_of is None


def test_progress_is_told(loaded: Run) -> None:
    events: list[Event] = []
    loaded.sample(5, watch=events.append)
    assert events[0] == Stage("sample", 5)
    assert isinstance(events[-1], Step)
    assert events[-1].done == 5


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"condition": {"colour": "red"}}, r"unknown condition \['colour'\]: this denoiser knows \['label'\]"),
        ({"condition": {"label": 77}}, r"condition 'label': there is no class 77; the training set has 0, 1, 2"),
        ({"condition": [{"label": 1}]}, r"1 conditions were given for 2 samples: give one for all, or one each"),
        ({"weights": "ema-0.7"}, r"there are no weights 'ema-0\.7': .*whole keeps trained, ema-0\.5, ema-0\.9"),
        ({"size": 7}, r"size 7: expected a number of axis 'y', a multiple of 2, given 7"),
        ({"steps": 0}, r"steps"),
    ],
)
def test_what_a_run_cannot_make_is_refused(request_: dict[str, Any], message: str, loaded: Run) -> None:
    with pytest.raises(ValueError, match=message):
        loaded.sample(2, **request_)


def test_an_edit_keeps_what_is_not_made_anew(loaded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    built, asked = [], []

    class Watching(MaskedCompletion, kind="watching"):
        def edit(self, tokenizer: Any, given: Any, seeds: Any, generator: Any, conditions: Any) -> Any:
            asked.append(generator)
            return super().edit(tokenizer, given, seeds, generator, conditions)

    build = Run._generator
    monkeypatch.setattr(Run, "_generator", lambda *arguments: built.append(build(*arguments)) or built[-1])
    given = [loaded.test_set[i].sample for i in range(2)]
    made = loaded.edit(Watching(anew={"y": (0.5, 1.0)}), given, 4, {"label": 3})
    assert built == asked == [made.generator], "the editor's and the one that makes are one: what one computed, the other has"
    assert len(made) == 4
    for row, sample in enumerate(made.samples):
        torch.testing.assert_close(sample[:4], given[row % 2][:4], atol=1e-5, rtol=0)
        assert (sample[4:] - given[row % 2][4:]).abs().max() > 0.1
    assert (made[0][4:] - made[2][4:]).abs().max() > 1e-3, "another seed, another rest"
    with pytest.raises(ValueError, match="no sample was given to edit"):
        loaded.edit(MaskedCompletion(anew={"y": (0.5, 1.0)}), [])


def test_an_editor_that_moves_by_a_solver_of_its_own_refuses_another(loaded: Run) -> None:
    """It would be left out without a word."""
    given = [loaded.test_set[0].sample]
    for editor, by in ((Translate(), "its own `solver`, both ways"), (NoiseSpace(), "ancestral steps")):
        for asked in (
            {"solver": Heun()},
            {"streams": {"tokens": StreamSampling(solver=Heun())}},
            {"streams": {"tokens": {"solver": Heun()}}},
        ):
            with pytest.raises(ValueError, match=f"'{editor.kind}' moves samples by {by}: leave out the solver that is asked for besides"):
                loaded.edit(editor, given, 1, **asked)
    assert len(loaded.edit(NoiseSpace(), given, 1, steps=2, streams={"tokens": {"schedule": Rho()}})) == 1
    own = {"tokens": StreamSampling(solver=Heun())}
    slow = Run(loaded.folder, loaded.recipe.model_copy(update={"sample": loaded.recipe.sample.model_copy(update={"streams": own})}))
    beside = {"tokens": StreamSampling(solver=Heun(), schedule=Rho())}
    assert len(slow.edit(NoiseSpace(), given, 1, steps=2, streams=beside)) == 1, "only the schedule is asked for besides"


def test_samples_in_times_that_training_did_not_show_say_so(loaded: Run) -> None:
    made = loaded.sample(2, schedule=Pyramid(axis="y", block=4.0))
    assert "which training with objective.forcing 0 does not show" in made.receipts["pyramid"].note
    assert "pyramid" not in loaded.sample(2, schedule=Pyramid(axis="y", lag=0)).receipts


def test_judging_writes_its_numbers(loaded: Run) -> None:
    measures = {measure.name: measure for measure in loaded.evaluate(loaded.sample(6))}
    assert set(measures) == {"unique", "novel"}
    assert measures["unique"].n == 6
    assert [entry["name"] for entry in read_json(loaded.folder / "evaluation.json")] == ["unique", "novel"]


def test_judging_makes_no_samples_that_nothing_judges(loaded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor any before a metric is refused."""
    monkeypatch.setattr(Run, "sample", lambda *arguments, **named: pytest.fail("samples were made"))
    (found,) = loaded.evaluate(metrics=[Probe(condition="label", limit=20)])
    assert found.n == 20
    with pytest.raises(ValueError, match="'diffusion-classifier': there is no condition 'colour', the denoiser knows label"):
        loaded.evaluate(metrics=[Distinct(), DiffusionClassifier(condition="colour")])


def test_files_are_judged_where_tokens_are_predicted_as_data(
    loaded: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their flow begins with noise, measured on training samples: from clean tokens a network's error is thousands of bits."""
    files = loaded.save_samples(loaded.sample(2), tmp_path)
    build = Run.denoiser

    def predicts_data(self: Run, *given: Any) -> Denoiser:
        denoiser = build(self, *given)
        denoiser.corruptions = {name: Corruption(each.path, "data") for name, each in denoiser.corruptions.items()}
        return denoiser

    monkeypatch.setattr(Run, "denoiser", predicts_data)
    judge(loaded.folder, files[:2], steps=2, probes=1, draws=1)
    _, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(abs(float(line.split()[1])) < 20 for line in lines)


def test_classes_of_files_are_told_where_there_is_no_likelihood(
    loaded: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = loaded.save_samples(loaded.sample(1), tmp_path)
    monkeypatch.setattr("anylatent.perception.likelihood.unlikely", lambda denoiser: iter(["streams are of both sorts"]))
    judge(loaded.folder, files[:1], draws=1)
    _, line, why = capsys.readouterr().out.splitlines()
    assert line.split()[1:3] in (["–", "0"], ["–", "1"], ["–", "2"])
    assert why == "bits: streams are of both sorts"
    with pytest.raises(ValueError, match="streams are of both sorts"):
        judge(loaded.folder, files[:1], condition=["label=1"])


# ------------------------------------------------------------------------------------------------------- without the data


@pytest.fixture
def users_run(tmp_path: Path) -> Run:
    """A run on a user's own folder of pictures, one of which is damaged; the folder is then removed."""
    folder = tmp_path / "pictures"
    for index in range(14):
        path = folder / ("a", "b")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 15 * index).save(path)
    (folder / "a" / "damaged.png").write_bytes((folder / "a" / "0.png").read_bytes()[:40])
    modality = {"kind": "image", "data": {"kind": "image.folder", "path": str(folder), "size": 8, "channels": 1}}
    run = executed(digits(modality=modality, train={"steps": 4, "batch": 4}), tmp_path / "run")
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
    return run


def test_a_run_works_where_its_data_are_not(users_run: Run) -> None:
    """It samples, asks as training samples are, edits a file of the user's, and reports; judging says what is missing."""
    run = anylatent.load(users_run.folder)
    made = run.sample(3)
    assert {asked["label"] for asked in run.sample(20).asked} == {"a", "b"}
    written = run.save_samples(made, run.folder / "again")
    given = run.recipe.modality.read(next(path for path in written if path.name == "0000.png"))
    assert len(run.edit(MaskedCompletion(anew={"x": (0.5, 1.0)}), [given])) == 1
    from anylatent.showing import write_report

    assert "1 records could not be read and were left out; the first:" in write_report(run).read_text()
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*pictures"):
        run.evaluate(made)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*pictures"):
        list(run.train())


def test_a_run_that_is_not_trained_says_how_to_go_on(tmp_path: Path) -> None:
    run = Run.create(load_recipe(digits()), tmp_path / "new")
    with pytest.raises(FileNotFoundError, match=r"new has no .* yet: `anylatent train .*new` goes on with it"):
        run.sample(1)
    stopped(run, "denoiser", 1)
    with pytest.raises(FileNotFoundError, match=r"new has no checkpoint yet: `anylatent train .*new` makes one"):
        Run.open(tmp_path / "new").sample(1)
    from anylatent.showing import write_report

    assert write_report(run).exists(), "and reports what there is"


def test_ragged_samples_are_made_in_the_sizes_that_were_seen(tmp_path: Path) -> None:
    """With a modality that was given in Python, and is no plugin."""
    from toys import Toy, Waves

    from anylatent.components import core_components
    from anylatent.node import Components
    from anylatent.recipe.model import Recipe

    described = toy_recipe(modality={"kind": "toy", "data": {"kind": "toy.waves", "ragged": True}})
    recipe = Recipe.model_validate(described, context={"components": Components([*core_components(), Toy, Waves])})
    run = Run.create(recipe, tmp_path)
    for _ in execute(run):
        pass
    assert {len(sample) for sample in run.sample(30).samples} == {8, 12, 16}
    assert {len(sample) for sample in run.sample(5, size=20).samples} == {20}
    together = run.sample(6, seed=3)
    alone = run.sample(1, seed=5)
    torch.testing.assert_close(alone[0], together[2], atol=1e-5, rtol=0)
