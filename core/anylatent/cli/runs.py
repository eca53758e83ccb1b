"""Commands that make, continue, use and judge runs."""
# ruff: noqa: B006 (typer copies the lists that are defaults)

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anylatent.cli import Interrupted

if TYPE_CHECKING:
    from anylatent.run import Run, Samples

Source = Annotated[Path, typer.Argument(metavar="RECIPE|RUN", help="A recipe, or the folder of a run to go on with.", show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)]
Overrides = Annotated[list[str], typer.Argument(metavar="[KEY=VALUE]", help="Changes to the recipe: train.steps=100", show_default=False)]
Out = Annotated[Path | None, typer.Option(metavar="FOLDER", help="The run's folder; else runs/NAME.", show_default=False)]
Count = Annotated[int | None, typer.Option(min=1, metavar="N", help="How many.", show_default=False)]
Seed = Annotated[int | None, typer.Option(min=0, metavar="N", help="Of the first sample; each has its own.", show_default=False)]
StepCount = Annotated[int | None, typer.Option("--steps", min=1, metavar="N", help="Steps of the solver.", show_default=False)]
Condition = Annotated[list[str], typer.Option(metavar="NAME=VALUE", help="What samples are asked to be; repeatable.")]
SolverText = Annotated[str, typer.Option("--solver", metavar="KIND|{…}", help="A solver's kind, or its node: '{kind: …}'.")]
ScheduleText = Annotated[str, typer.Option("--schedule", metavar="KIND|{…}", help="A schedule's kind, or its node.")]
HookTexts = Annotated[list[str], typer.Option("--hook", metavar="KIND|{…}", help="A hook's kind, or its node; repeatable.")]
CorrectionTexts = Annotated[list[str], typer.Option("--correction", metavar="KIND|{…}", help="A correction, or its node; repeatable.")]
BestOfText = Annotated[str, typer.Option("--best-of", metavar="{…}", help="Search: '{count: 4, energy: {kind: …}}'.")]
StreamTexts = Annotated[
    list[str], typer.Option("--stream", metavar="NAME={…}", help="One stream's own: 'x={solver: {kind: …}, schedule: {…}}'; repeatable.")
]
GuidanceText = Annotated[str, typer.Option("--guidance", metavar="SCALE|{…}", help="A scale (classifier-free), or a node: '{kind: …}'.")]
Weights = Annotated[str, typer.Option(metavar="NAME", help="trained, or ema-0.999.", show_default=False)]
SampleFolder = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="For the samples; else a new folder in the run.", show_default=False)
]


def run(
    source: Source,
    overrides: Overrides = [],
    out: Out = None,
    again: Annotated[bool, typer.Option("--again", help="Sample, judge and report a finished run once more.")] = False,
) -> None:
    """Everything a recipe says: train, sample, evaluate, report. Run it again to go on where it stopped."""
    from anylatent.cli.progress import follow, speaks

    opened = _opened(source, overrides, out)
    from anylatent.execution import execute

    if again or not opened.finished:
        with _resumable("run", opened.folder):
            follow(execute(opened))
    elif speaks():
        print(f"finished already; for more samples: anylatent sample {opened.folder}; to sample and judge once more: --again")
    if speaks():
        _show_evaluation(opened.folder)
        print(f"report: {opened.folder / 'report.html'}")


def train(source: Source, overrides: Overrides = [], out: Out = None) -> None:
    """Train what is not trained yet, from where it stopped."""
    from anylatent.cli.progress import follow, speaks

    opened = _opened(source, overrides, out)
    with _resumable("train", opened.folder):
        follow(opened.train())
    if speaks():
        print(f"trained: {opened.folder}")


def sample(
    folder: Folder,
    count: Count = None,
    condition: Condition = [],
    seed: Seed = None,
    steps: StepCount = None,
    solver: SolverText = "",
    schedule: ScheduleText = "",
    stream: StreamTexts = [],
    guidance: GuidanceText = "",
    hook: HookTexts = [],
    correction: CorrectionTexts = [],
    best_of: BestOfText = "",
    weights: Weights = "",
    size: Annotated[str, typer.Option(metavar="N|NxM", help="How large: a number an axis (24x64), or one for the first.")] = "",
    out: SampleFolder = None,
) -> None:
    """Make samples with a run's weights, as files that people open.

    What no option says is as the recipe says.
    """
    from anylatent.cli import requests
    from anylatent.cli.progress import watching

    large = requests.size(size)
    opened = open_run(folder)
    asked = requests.conditions(opened.recipe, condition)
    changes = requests.changes(solver, schedule, guidance, hook, correction, best_of) | requests.streams(opened.recipe, stream)
    with _new_folder(out, opened.folder / "sampled") as target:
        with watching() as watch:
            made = opened.sample(count, asked or None, seed, steps=steps, weights=weights, size=large, watch=watch, **changes)
        _show_samples(opened, made, target)


def edit(
    folder: Folder,
    editor: Annotated[str, typer.Option(metavar="KIND|{…}", help="An editor's kind, or its node: '{kind: …}'.")] = "masked-completion",
    change: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="A field of the editor: tokens=[0,0.5]")] = [],
    given: Annotated[list[Path], typer.Option(metavar="FILE", help="A sample to edit; several are edited in turn.")] = [],
    from_data: Annotated[int, typer.Option(min=0, metavar="N", help="Edit the first N held-out samples of the data set.")] = 0,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many to make; else one of each given.", show_default=False)
    ] = None,
    condition: Condition = [],
    seed: Seed = None,
    steps: StepCount = None,
    solver: SolverText = "",
    schedule: ScheduleText = "",
    stream: StreamTexts = [],
    guidance: GuidanceText = "",
    hook: HookTexts = [],
    correction: CorrectionTexts = [],
    best_of: BestOfText = "",
    weights: Weights = "",
    out: SampleFolder = None,
) -> None:
    """Make samples out of given ones: keep a part, remake the rest.

    What no option says is as the recipe says.
    """
    from anylatent.cli import requests
    from anylatent.cli.progress import watching

    node = requests.editor(editor, change)
    opened = open_run(folder)
    # An editor may bring its own (a fragment, say): then a count says enough, and one that needs samples refuses.
    samples = requests.given_samples(opened, given, from_data) if given or from_data or not count else []
    asked = requests.conditions(opened.recipe, condition)
    changes = requests.changes(solver, schedule, guidance, hook, correction, best_of) | requests.streams(opened.recipe, stream)
    with _new_folder(out, opened.folder / "edited") as target:
        with watching() as watch:
            made = opened.edit(node, samples, count, asked or None, seed, steps=steps, weights=weights, watch=watch, **changes)
        _show_samples(opened, made, target)


def evaluate(
    folder: Folder,
    metric: Annotated[
        list[str], typer.Option(metavar="KIND|{…}", help="Judge by this metric instead of the recipe's, and only show it; repeatable.")
    ] = [],
) -> None:
    """Judge fresh samples by the recipe's metrics, or by others."""
    from anylatent.cli import requests
    from anylatent.cli.progress import watching
    from anylatent.cli.text import measured

    metrics = requests.metrics(metric)
    opened = open_run(folder)
    if not metrics and not opened.recipe.evaluate:
        raise ValueError(f"the recipe of {folder} names no metric: add some under `evaluate`, or judge by one with --metric KIND")
    with watching() as watch:
        measures = opened.evaluate(metrics=metrics, watch=watch)
    if metrics:
        print(measured(measures))
    else:
        _show_evaluation(opened.folder)


def schedule(
    folder: Folder,
    steps: StepCount = None,
    solver: SolverText = "",
    schedule: Annotated[str, typer.Option("--schedule", metavar="KIND|{…}", help="The schedule to begin from.")] = "",
    stream: StreamTexts = [],
    guidance: GuidanceText = "",
    count: Annotated[int, typer.Option(min=2, metavar="N", help="Samples to search on; as many more judge what was found.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Times that each knot is moved, by less and less.")] = 4,
    reference: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Steps of what to come near to; else ten times --steps.", show_default=False)
    ] = None,
    condition: Condition = [],
    seed: Seed = None,
    weights: Weights = "",
) -> None:
    """Search times with which few steps come near to many.

    What no option says is as the recipe says. Prints a schedule for a recipe's `sample`, or for --schedule.
    """
    from anylatent.cli import requests
    from anylatent.cli.progress import watching
    from anylatent.cli.text import found_schedule

    opened = open_run(folder)
    asked = requests.conditions(opened.recipe, condition)
    changes = requests.changes(solver, schedule, guidance, [], []) | requests.streams(opened.recipe, stream)
    with watching() as watch:
        found = opened.search_schedule(
            steps, count, asked or None, seed, rounds=rounds, reference_steps=reference, weights=weights, watch=watch, **changes
        )
    print(found_schedule(found))


def solver(
    folder: Folder,
    steps: StepCount = None,
    schedule: ScheduleText = "",
    guidance: GuidanceText = "",
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Samples to fit to; as many more judge what was found.")] = 64,
    reference: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Steps of what to come near to; else ten times --steps.", show_default=False)
    ] = None,
    condition: Condition = [],
    seed: Seed = None,
    weights: Weights = "",
) -> None:
    """Fit a solver's numbers, so that few steps come near to many.

    What no option says is as the recipe says. Prints the fields of a recipe's `sample`, which --solver and --schedule take too; of several
    streams, --stream.
    """
    from anylatent.cli import requests
    from anylatent.cli.progress import watching
    from anylatent.cli.text import found_solver

    opened = open_run(folder)
    asked = requests.conditions(opened.recipe, condition)
    changes = requests.changes("", schedule, guidance, [], [])
    with watching() as watch:
        found = opened.fit_solver(steps, count, asked or None, seed, reference_steps=reference, weights=weights, watch=watch, **changes)
    print(found_solver(found))


def report(folder: Folder) -> None:
    """Write report.html again, from what the run's folder holds."""
    from anylatent.showing import write_report

    print(write_report(open_run(folder)))


def _opened(source: Path, overrides: list[str], out: Path | None) -> "Run":
    """The run of a folder, or a new one of a recipe; the recipe is judged before torch is imported."""
    if source.is_dir():
        if overrides or out:
            raise ValueError(f"{source} is a run, whose recipe is fixed; overrides and --out go with a recipe: {source / 'recipe.yaml'}")
        return open_run(source)
    from anylatent.recipe import load

    recipe = load(source, overrides=overrides)
    from anylatent.run import Run

    folder = out or Path("runs") / (recipe.name or "unnamed")
    known = (folder / "recipe.yaml").exists()
    made = Run.create(recipe, folder)
    print(f"{'going on with' if known else 'run'}: {folder}", flush=True)
    return made


def open_run(folder: Path) -> "Run":
    """The run of a folder; torch is imported here."""
    from anylatent.run import Run

    return Run.open(folder)


@contextmanager
def _resumable(command: str, folder: Path) -> Iterator[None]:
    """Says how to go on when a person stops a training."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"\nstopped; to go on from the last checkpoint: anylatent {command} {folder}") from None


@contextmanager
def _new_folder(out: Path | None, beside: Path) -> Iterator[Path]:
    """`out` if it is free, or the next numbered folder, made here: of two commands at once each has its own.

    Samples replace it as a whole folder; if none come, one that was made here goes again.
    """
    own = True
    if out is None:
        folder = next(path for number in itertools.count(1) if _made(path := beside / f"{number:03d}"))
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} exists and is not an empty folder: choose another")
    else:
        own = _made(folder := out)
    try:
        yield folder
    except BaseException:
        if own:
            with suppress(OSError):  # of a folder that holds something: samples have come
                folder.rmdir()
        raise


def _made(folder: Path) -> bool:
    """Whether this call made it."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def _show_samples(opened: "Run", made: "Samples", target: Path) -> None:
    from anylatent.cli.text import duration

    if any(target.iterdir()):
        raise ValueError(f"{target} was filled by another command meanwhile: what it wrote stays; sample again into another folder")
    opened.save_samples(made, target)
    for name, receipt in made.receipts.items():
        counts = ", ".join(f"{what} {amount:g}" for what, amount in receipt.counts.items())
        print(f"{name}: {counts} ({receipt.note})" if counts and receipt.note else f"{name}: {counts or receipt.note or 'nothing'}")
    print(f"{len(made)} samples in {duration(made.seconds)}: {target}")


def _show_evaluation(folder: Path) -> None:
    from anylatent.cli.text import measured
    from anylatent.files import read_json
    from anylatent.metrics.base import Measure

    file = folder / "evaluation.json"
    if file.exists():
        entries: list[dict[str, Any]] = read_json(file)
        print(measured(Measure.read(entry) for entry in entries))
