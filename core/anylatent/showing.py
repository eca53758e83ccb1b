"""A run's report, from what its folder holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anylatent import files
from anylatent import recipe as recipes
from anylatent.build import TokenizerFolder
from anylatent.metrics.base import Measure
from anylatent.plugins import PluginError, Plugins
from anylatent.report import Picture, Preview, ReportFacts, Section, StageTime, render
from anylatent.run import Run
from anylatent.state import Receipt


def write_report(run: Run) -> Path:
    """Write `report.html`, whole; parts that the run does not have yet are left out."""
    return files.write_text(run.folder / "report.html", render(facts_of(run)))


def facts_of(run: Run) -> ReportFacts:
    """What the report of this run says."""
    recipe, folder = run.recipe, run.folder
    measures = [Measure.read(measure) for measure in _json(folder / "evaluation.json", [])]
    receipts = _json(folder / "samples" / "receipts.json", {})
    sampled = receipts.pop("seconds", None)
    timings = dict(_json(folder / "timings.json", {}))
    count, data = recipe.sample.count, recipe.modality.data
    summary = f"Denoiser “{recipe.denoiser.kind}” over tokens of “{recipe.tokenizer.kind}”, trained on “{data.kind}”."
    return ReportFacts(
        title=recipe.name or folder.name,
        recipe=recipes.dump(recipe),
        summary=f"{summary} A sample: {recipe.modality.sample}.",
        environment=_flat(_json(folder / "environment.json", {})),
        stages=[StageTime(name, seconds) for name, seconds in timings.items()],
        log=run.log.lines(),
        previews=[Preview(int(path.stem), path.read_bytes()) for path in sorted((folder / "previews").glob("*.png"))],
        sheets=_sheets(folder, count, sampled),
        measures=measures,
        receipts=[
            Receipt(name, r["counts"], {int(row): counts for row, counts in r["rows"].items()}, r["note"]) for name, r in receipts.items()
        ],
        problems=list(_problems(run, measures, receipts)),
        sections=[Section(title, html) for title, html in _sections(run)],
        shell=f"anylatent run {folder / 'recipe.yaml'} --out {folder.with_name(folder.name + '-again')}\n"
        f"anylatent sample {folder} --count {count} --seed {recipe.sample.seed}",
        python=f'import anylatent\n\nrun = anylatent.load("{folder}")\nmade = run.sample({count}, seed={recipe.sample.seed})',
        made=f"anylatent {_json(folder / 'environment.json', {}).get('packages', {}).get('anylatent', '')}",
    )


def _sheets(folder: Path, count: int, seconds: float | None) -> list[Picture]:
    sheet = folder / "samples" / "sheet.png"
    if not sheet.exists():
        return []
    took = f", {1000 * seconds / count:.0f} ms each" if seconds else ""
    return [Picture(f"{min(count, 100)} of {count} samples{took}", sheet.read_bytes())]


def _problems(run: Run, measures: list[Measure], receipts: dict[str, Any]) -> Iterator[str]:
    if TokenizerFolder(run.folder / "tokenizer").exists and run.facts.left_out:
        yield f"{run.facts.left_out} records could not be read and were left out; the first: {run.facts.first_left_out}"
    yield from (f"{measure.name}: {measure.note}" for measure in measures if measure.value != measure.value)
    for method in (*run.recipe.sample.hooks, *run.recipe.sample.corrections):
        if receipts and method.kind not in receipts:
            yield f"the {method.family} '{method.kind}' was asked for and did nothing"


def _sections(run: Run) -> Iterator[tuple[str, str]]:
    """What the plugin of the run's modality adds."""
    plugins = Plugins.discover()
    try:
        plugins.load(run.recipe.modality.kind)
    except PluginError:  # a modality that is no plugin's: its classes were given in Python
        return
    yield from filter(None, plugins.manager.hook.anylatent_report_section(run=run))


def _json(path: Path, missing: Any) -> Any:
    return files.read_json(path) if path.exists() else missing


def _flat(environment: dict[str, Any]) -> dict[str, Any]:
    packages = environment.pop("packages", {})
    return environment | packages
