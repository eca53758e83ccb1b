"""Everything that a recipe says, in order."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from anylatent import files
from anylatent.run import Run
from anylatent.showing import write_report
from anylatent.training.events import Event, Saved, Stage, Step
from anylatent.training.trainer import is_main_process


def execute(run: Run) -> Iterator[Event]:
    """Everything a recipe says: train, sample, evaluate, report. Times of stages go to `timings.json`.

    Errors: `InUse` while another process works in the run's folder.
    """
    with run.lock.held() if is_main_process() else nullcontext():
        timer = _Timer(run.folder / "timings.json")
        for event in _everything(run):
            timer.see(event)
            yield event
        timer.write()


def _everything(run: Run) -> Iterator[Event]:
    yield from run.train()
    if not is_main_process():
        return
    made = yield from run.sampling()
    run.save_samples(made, run.folder / "samples")
    yield Saved("samples", run.folder / "samples")
    if run.recipe.evaluate:
        yield Stage("evaluate", len(run.recipe.evaluate))
        run.evaluate(made)
        yield Step("evaluate", len(run.recipe.evaluate), len(run.recipe.evaluate))
        yield Saved("evaluation", run.folder / "evaluation.json")
    yield Stage("report", 1)
    yield Saved("report", write_report(run))


class _Timer:
    """Seconds a stage, summed over the sessions of a run that was interrupted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = files.read_json(path) if path.exists() else {}
        self._stage, self._since = "plan", time.perf_counter()

    def see(self, event: Event) -> None:
        if isinstance(event, Stage):
            self.write()
            self._stage = event.name
        elif isinstance(event, Step) and event.done == event.total and event.stage in ("latents", "pairs"):
            self.write()
            self._stage = "denoiser"  # what is built from here on is for it

    def write(self) -> None:
        now = time.perf_counter()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._since = now
        files.write_json(self.path, self.seconds)
