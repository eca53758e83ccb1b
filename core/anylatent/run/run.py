"""A run: the folder that a recipe made. Everything a recipe says, resumable at any point."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from anylatent import files
from anylatent import recipe as recipes
from anylatent.editing.base import Editor
from anylatent.engine import Finished, receipts
from anylatent.generation import RowGenerator, Settled, gathered
from anylatent.guidance.base import Guidance
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.known import Known
from anylatent.metrics.base import Evidence, Measure, Metric, TooFewSamples
from anylatent.plan import make_plan
from anylatent.random import uniform
from anylatent.recipe.model import Recipe
from anylatent.run.samples import Beginnings, Samples
from anylatent.run.training import train_run
from anylatent.run_folder import RunFolder, environment
from anylatent.sampling import Sampling
from anylatent.schedule_search import FoundSchedule, search_schedule
from anylatent.solver_fit import FoundSolver, fit_solver
from anylatent.state import Receipt, State
from anylatent.tokenizers.sizes import Size
from anylatent.training.events import Event, Stage, Step
from anylatent.training.trainer import is_main_process

Asked = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
"""What samples are asked to be: one mapping for all, one a sample, or None: as the training samples are."""


class Run(RunFolder):
    """A run folder. Made by `create` from a recipe, or found by `open`; every part is loaded when it is first needed."""

    @staticmethod
    def create(recipe: Recipe, folder: Path | str) -> "Run":
        """Plan the recipe, and make its folder, or take up the one that the same recipe made.

        Errors: `PlanError` with all that is in the way; `ValueError` if the folder is another recipe's.
        """
        folder = Path(folder)
        text = recipes.dump(recipe)
        if (folder / "recipe.yaml").exists():
            if not _same(recipe, text, folder / "recipe.yaml"):
                raise ValueError(f"{folder} holds a run of another recipe: choose another folder with --out, or remove it")
            return Run(folder, recipe)
        make_plan(recipe).require()
        files.write_json(folder / "environment.json", environment())
        files.write_text(folder / "recipe.yaml", text)
        return Run(folder, recipe)

    # --- training ----------------------------------------------------------------------------------------------

    @cached_property
    def started_from(self) -> "Run":
        """The run that this one starts from. Errors: `ValueError` if the recipe names none; as `open`."""
        if self.recipe.start is None:
            raise ValueError(f"{self.folder} starts from no other run: its recipe has no `start`")
        return Run.open(self.recipe.start.run)

    def train(self) -> Iterator[Event]:
        """Train what is not trained yet, from where it stopped: the tokenizer, its latents, the denoiser, classifiers.

        Errors: `InUse` while another process works in the folder.
        """
        with self.lock.held() if is_main_process() else nullcontext():
            yield from train_run(self)

    # --- sampling ----------------------------------------------------------------------------------------------

    def sample(
        self,
        count: int | None = None,
        condition: Asked = None,
        seed: int | None = None,
        *,
        steps: int | None = None,
        guidance: float | Guidance | None = None,
        weights: str = "",
        size: Size = None,
        watch: Callable[[Event], None] | None = None,
        **changes: Any,
    ) -> Samples:
        """Make samples. Row i has seed `seed + i`: the same whatever `count` and batch are.

        `condition`: see `Asked`. `size`: how large samples are to be, a number an axis or one for the first (see
        `Tokenizer.layout`). `changes`: other fields of `Sampling` (solver, schedule, hooks…); what the recipe has is left out by
        `best_of=None`, `hooks=()` or `corrections=()`. Errors: `ValueError` for what the run cannot do, by name.
        """
        sampling = self._sampling(count, seed, steps, guidance, changes)
        state, asked = self._begun(condition, sampling, size)
        return _watched(self._making(state, asked, self._generator(sampling, weights)), watch)

    def stream(
        self,
        count: int | None = None,
        condition: Asked = None,
        seed: int | None = None,
        *,
        steps: int | None = None,
        guidance: float | Guidance | None = None,
        weights: str = "",
        size: Size = None,
        **changes: Any,
    ) -> Iterator[Settled | Samples]:
        """The samples that `sample` makes, in parts: tokens as soon as no later step changes them, and at last the `Samples`.

        With the schedule `pyramid` the first come long before the last; with `best_of` nothing comes before the whole. Where the tokenizer
        has `local_axes`, `Settled.sample` is the row's sample up to where all of its tokens are there, each time that this reaches further.
        Whoever stops listening stops the sampling.
        Errors: as `sample`, when the first part is asked for.
        """
        sampling = self._sampling(count, seed, steps, guidance, changes)
        state, asked = self._begun(condition, sampling, size)
        generator = self._generator(sampling, weights)
        started, finished, beginnings = time.perf_counter(), [], Beginnings(self.tokenizer, state)
        for event in generator.settling(state, asked):
            if isinstance(event, Finished):
                finished.append(event)
            else:
                yield beginnings.decoded(event)
        yield self._made(sorted(finished, key=lambda done: done.row), state, asked, generator, started)

    def sampling(self) -> Generator[Event, None, Samples]:
        """Make the samples that the recipe asks for: yields what happens, returns them."""
        sampling = self.recipe.sample
        return self._making(*self._begun(None, sampling), self._generator(sampling, ""))

    def rows(
        self, sampling: Sampling, weights: str = "", stage: str = "sample"
    ) -> Generator[Event, None, tuple[State, list[dict[str, Any]]]]:
        """Clean tokens of fresh rows, and what each was asked: yields what happens, as a stage of this name."""
        state, asked = self._begun(None, sampling)
        finished = yield from self._finished(state, asked, self._generator(sampling, weights), stage=stage)
        return gathered(finished, state).state, asked

    def edit(
        self,
        editor: Editor,
        given: list[Any],
        count: int | None = None,
        condition: Asked = None,
        seed: int | None = None,
        *,
        steps: int | None = None,
        guidance: float | Guidance | None = None,
        weights: str = "",
        watch: Callable[[Event], None] | None = None,
        **changes: Any,
    ) -> Samples:
        """Make samples out of given ones (in turn): what `editor` keeps comes back, the rest is made anew.

        `condition` None: asked nothing. Errors: as `sample` and `Editor.start`.
        """
        sampling = self._sampling(count or max(1, len(given)), seed, steps, guidance, changes)
        seeds = torch.arange(sampling.seed, sampling.seed + sampling.count)
        asked = [{} for _ in range(sampling.count)] if condition is None else self._asked(condition, seeds, sampling)
        own = {name: each.solver for name, each in self.recipe.sample.streams.items()}
        others = [each.solver for name, each in sampling.streams.items() if each.solver and each.solver != own.get(name)]
        if editor.moves_by and (changes.get("solver") or others):
            raise ValueError(f"editor '{editor.kind}' moves samples by {editor.moves_by}: leave out the solver that is asked for besides")
        generator = self._generator(sampling, weights)
        edit = editor.edit(self.tokenizer, given, seeds, generator, asked)
        if edit.noised is not None:
            generator.noised = edit.noised
        made = _watched(self._making(edit.state, asked, generator, edit.sampling, edit.begin, edit.known), watch)
        return replace(made, samples=editor.finish(made.samples, given))

    def search_schedule(
        self,
        steps: int | None = None,
        count: int = 64,
        condition: Asked = None,
        seed: int | None = None,
        *,
        rounds: int = 4,
        reference_steps: int | None = None,
        guidance: float | Guidance | None = None,
        weights: str = "",
        watch: Callable[[Event], None] | None = None,
        **changes: Any,
    ) -> FoundSchedule:
        """Search times with which so many steps come near to many: on `count` rows from `seed` on, judged on as many after them.

        The search begins from the schedule that `changes` or the recipe name. Errors: as `sample`, and `schedule_search.search_schedule`.
        """
        sampling = self._sampling(2 * count, seed, steps, guidance, changes)
        return search_schedule(self._generator(sampling, weights), *self._begun(condition, sampling), rounds, reference_steps, watch)

    def fit_solver(
        self,
        steps: int | None = None,
        count: int = 64,
        condition: Asked = None,
        seed: int | None = None,
        *,
        reference_steps: int | None = None,
        guidance: float | Guidance | None = None,
        weights: str = "",
        watch: Callable[[Event], None] | None = None,
        **changes: Any,
    ) -> FoundSolver:
        """Fit the steps of a solver to many steps of `dpm++2m`: on `count` rows from `seed` on, judged on as many after them.

        For the schedule that `changes` or the recipe name. Errors: as `sample`, and `solver_fit.fit_solver`.
        """
        sampling = self._sampling(2 * count, seed, steps, guidance, changes)
        return fit_solver(self._generator(sampling, weights), *self._begun(condition, sampling), reference_steps, watch)

    def _begun(self, condition: Asked, sampling: Sampling, size: Size = None) -> tuple[State, list[dict[str, Any]]]:
        """Empty rows of a request's seeds, and what each is asked."""
        seeds = torch.arange(sampling.seed, sampling.seed + sampling.count)
        asked = self._asked(condition, seeds, sampling)
        return self.tokenizer.layout(seeds, asked, size), asked

    def generator(self, weights: str = "", **changes: Any) -> RowGenerator:
        """What makes rows of any start state, and stays ready: for a policy, or a metric that needs one. `changes`: of `Sampling`."""
        return self._generator(self._sampling(None, None, None, None, changes), weights)

    def _generator(self, sampling: Sampling, weights: str) -> RowGenerator:
        others = {name: self.other_denoiser(name, sampling.guidance.kind) for name in sampling.guidance.denoisers()}
        classifiers = {name: self.classifier(name) for name in sampling.classifiers()}
        return RowGenerator(
            self.denoiser(weights), sampling, not self.recipe.objective.completes, others, self.tokenizer.decode, classifiers=classifiers
        )

    def generate(self, state: State, conditions: Sequence[Mapping[str, Any]], begin: float = 1.0, **changes: Any) -> State:
        """The rows of a start state, made (see `RowGenerator`)."""
        return self.generator(**changes)(state, conditions, begin)

    def _sampling(
        self, count: int | None, seed: int | None, steps: int | None, guidance: float | Guidance | None, changes: Mapping[str, Any]
    ) -> Sampling:
        """The recipe's, changed. None: as the recipe says, but for `best_of`, which it switches off."""
        node = ClassifierFree(scale=guidance) if isinstance(guidance, int | float) else guidance
        given = {"count": count, "seed": seed, "steps": steps, "guidance": node} | dict(changes)
        fields: dict[str, Any] = {name: getattr(self.recipe.sample, name) for name in Sampling.model_fields}
        fields |= {name: value for name, value in given.items() if value is not None or name == "best_of"}
        return Sampling(**fields)

    def _asked(self, condition: Asked, seeds: torch.Tensor, sampling: Sampling) -> list[dict[str, Any]]:
        deaf = set(self.recipe.classifiers) - set(self.recipe.conditions) - set(sampling.classifiers())
        if condition is None:
            return [{name: value for name, value in row.items() if name not in deaf} for row in self._drawn(seeds)]
        each = [condition for _ in seeds] if isinstance(condition, Mapping) else condition
        if len(each) != len(seeds):
            raise ValueError(f"{len(each)} conditions were given for {len(seeds)} samples: give one for all, or one each")
        unheard = sorted(deaf & {name for row in each for name, value in row.items() if value is not None})
        if unheard:
            raise ValueError(
                f"samples are asked '{unheard[0]}', which the denoiser does not know, only its classifier: sample with the correction "
                f"{{kind: classifier, condition: {unheard[0]}}}"
            )
        return [dict(row) for row in each]

    def _drawn(self, seeds: torch.Tensor) -> list[dict[str, Any]]:
        """What training samples are, drawn by row seed."""
        known = self.facts.asked
        places = (uniform(seeds, "asked", 0, 0, 1)[:, 0] * len(known)).long().clamp(max=len(known) - 1)
        return [dict(known[i]) for i in places.tolist()]

    def _making(
        self,
        state: State,
        asked: list[dict[str, Any]],
        generator: RowGenerator,
        sampling: Sampling | None = None,
        begin: float = 1.0,
        known: Known | None = None,
    ) -> Generator[Event, None, Samples]:
        started = time.perf_counter()
        finished = yield from self._finished(state, asked, generator, sampling, begin, known)
        return self._made(finished, state, asked, generator, started, sampling)

    def _made(
        self,
        finished: Sequence[Finished],
        state: State,
        asked: list[dict[str, Any]],
        generator: RowGenerator,
        started: float,
        sampling: Sampling | None = None,
    ) -> Samples:
        made = gathered(finished, state).state
        samples = self.tokenizer.decode(made)
        told = receipts(finished)
        for kind, note in (sampling or generator.sampling).unforced(generator.denoiser.specs, self.recipe.objective.forcing).items():
            told.setdefault(kind, Receipt(kind)).note = note
        return Samples(samples, asked, state.seeds.tolist(), made, told, time.perf_counter() - started, generator)

    def _finished(
        self,
        state: State,
        asked: list[dict[str, Any]],
        generator: RowGenerator,
        sampling: Sampling | None = None,
        begin: float = 1.0,
        known: Known | None = None,
        stage: str = "sample",
    ) -> Generator[Event, None, list[Finished]]:
        yield Stage(stage, len(state))
        finished = []
        for done in generator.stream(state, asked, begin, known, sampling):
            finished.append(done)
            yield Step(stage, len(finished), len(state))
        return sorted(finished, key=lambda done: done.row)

    def save_samples(self, made: Samples, folder: Path) -> list[Path]:
        """Write samples as files that people open (see `Samples.save`)."""
        return made.save(self.recipe.modality, folder)

    # --- judging and showing -----------------------------------------------------------------------------------

    def evaluate(
        self, made: Samples | None = None, metrics: Sequence[Metric] = (), watch: Callable[[Event], None] | None = None
    ) -> list[Measure]:
        """Metrics (the recipe's) on `made` (or on fresh samples as the recipe asks); the recipe's are written to `evaluation.json`.

        A metric that makes samples of its own makes them as `made` were; none are made if no metric judges them. Errors:
        `ValueError`, before anything is made, for a metric that cannot judge by this denoiser.
        """
        chosen = metrics or self.recipe.evaluate
        model = made.generator if made else self.generator()
        problems = [problem for metric in chosen for problem in metric.refusals(self.recipe.modality, self.tokenizer)]
        problems += [problem for metric in chosen for problem in metric.unanswered(model.denoiser)]
        if problems:
            raise ValueError("; ".join(problems))
        if made is None and any(metric.judges_samples for metric in chosen):
            made = self.sample(watch=watch)
            model = made.generator
        count = len(made) if made else 0
        evidence = Evidence(
            self.recipe.modality,
            made.samples if made else [],
            made.asked if made else [],
            self.train_set,
            self.test_set,
            self.tokenizer,
            files.cache_folder() / "metrics",
            self.recipe.seed,
            model,
        )
        measures: list[Measure] = []
        for metric in chosen:
            try:
                if metric.judges_samples:
                    metric.require(count)
                measures += metric.compute(evidence)
            except TooFewSamples as error:
                measures.append(Measure(metric.kind, float("nan"), float("nan"), float("nan"), count, "neither", note=str(error)))
        if not metrics:
            files.write_json(self.folder / "evaluation.json", [measure.written() for measure in measures])
        return measures


def _same(recipe: Recipe, text: str, path: Path) -> bool:
    """Whether a run's recipe is this one: as it was written, or by an older version that had fewer fields to write."""
    if path.read_text() == text:
        return True
    try:
        return recipes.load(path) == recipe
    except recipes.RecipeError:
        return False


def _watched(making: Generator[Event, None, Samples], watch: Callable[[Event], None] | None) -> Samples:
    """What a generator returns, its events handed to `watch`."""
    while True:
        try:
            event = next(making)
        except StopIteration as stop:
            return stop.value
        if watch:
            watch(event)
