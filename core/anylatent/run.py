"""A run: the folder that a recipe made. Everything a recipe says, resumable at any point."""

import platform
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from anylatent import files
from anylatent import recipe as recipes
from anylatent.build import TokenizerFacts, TokenizerFolder, build_dataset, build_denoiser, build_tokenizer, condition_values
from anylatent.conditioners.base import Conditioner
from anylatent.data import Dataset, cache_folder
from anylatent.denoiser import Denoiser
from anylatent.editing.base import Editor
from anylatent.engine import receipts
from anylatent.generation import RowGenerator, gathered
from anylatent.guidance.base import Guidance
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.known import Known
from anylatent.locking import FolderLock
from anylatent.metrics.base import Evidence, Measure, Metric, TooFewSamples
from anylatent.nn.kernels import linear_kernel
from anylatent.plan import make_plan, no_denoiser, weights_of
from anylatent.random import seed_of, uniform
from anylatent.recipe.model import Recipe
from anylatent.sampling import Sampling
from anylatent.state import Receipt, State
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.sizes import Size
from anylatent.training import checkpoint
from anylatent.training.courses import DenoiserCourse, TokenizerCourse
from anylatent.training.events import Event, Note, Saved, Stage, Step
from anylatent.training.latents import Latents, encode
from anylatent.training.trainer import Log, is_main_process, make_accelerator, train

_ASKED = 1000
"""Training samples whose conditions a run remembers, to ask new samples the same."""

Asked = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
"""What samples are asked to be: one mapping for all, one a sample, or None: as the training samples are."""


@dataclass(frozen=True, repr=False)
class Samples:
    """Made samples, what each was asked to be, its row's seed, what each method did, and what can make more of them."""

    samples: list[Any]
    asked: list[dict[str, Any]]
    seeds: list[int]
    state: State
    receipts: dict[str, Receipt]
    seconds: float
    generator: RowGenerator

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]

    def __repr__(self) -> str:
        """In one line: the samples themselves would fill the screen."""
        did = ", ".join(self.receipts)
        return f"Samples({len(self)} of seeds {self.seeds[0]} to {self.seeds[-1]}, made in {self.seconds:.1f} s; receipts: {did})"


class Run:
    """A run folder. Made by `create` from a recipe, or found by `open`; every part is loaded when it is first needed."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe
        self.lock = FolderLock(folder)
        self._loaded: dict[tuple[Path, str], Denoiser] = {}

    @staticmethod
    def create(recipe: Recipe, folder: Path | str) -> "Run":
        """Plan the recipe, and make its folder, or take up the one that the same recipe made.

        Errors: `PlanError` with all that is in the way; `ValueError` if the folder is another recipe's.
        """
        folder = Path(folder)
        text = recipes.dump(recipe)
        if (folder / "recipe.yaml").exists():
            if (folder / "recipe.yaml").read_text() != text:
                raise ValueError(f"{folder} holds a run of another recipe: choose another folder with --out, or remove it")
            return Run(folder, recipe)
        make_plan(recipe).require()
        files.write_json(folder / "environment.json", environment())
        files.write_text(folder / "recipe.yaml", text)
        return Run(folder, recipe)

    @staticmethod
    def open(folder: Path | str, plugins: Any = None) -> "Run":
        """A run that exists. Errors: `FileNotFoundError` if there is none; see `recipe.load`."""
        folder = Path(folder)
        if not (folder / "recipe.yaml").is_file():
            raise FileNotFoundError(f"{folder} is not a run: it has no recipe.yaml. `anylatent run RECIPE --out {folder}` makes one")
        return Run(folder, recipes.load(folder / "recipe.yaml", plugins=plugins))

    # --- parts -------------------------------------------------------------------------------------------------

    @cached_property
    def train_set(self) -> Dataset:
        return build_dataset(self.recipe, "train")

    @cached_property
    def test_set(self) -> Dataset:
        return build_dataset(self.recipe, "test")

    @property
    def log(self) -> Log:
        return Log(self.folder / "metrics.jsonl")

    @property
    def _tokenizer_folder(self) -> TokenizerFolder:
        return TokenizerFolder(self.folder / "tokenizer")

    @cached_property
    def facts(self) -> TokenizerFacts:
        """What this run knows of its training data. Errors: `FileNotFoundError` if it has not come so far; `DamagedFile`."""
        if not self._tokenizer_folder.exists:
            raise FileNotFoundError(f"{self.folder} has no trained tokenizer yet: `anylatent train {self.folder}` goes on with it")
        return self._tokenizer_folder.facts()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The trained tokenizer. Errors: as `facts`."""
        file = self.facts.sample  # of the run itself, so that it can sample where its data are not
        example = self.recipe.modality.read(self._tokenizer_folder.path / file) if file else self.train_set[0].sample
        return self._tokenizer_folder.load_into(build_tokenizer(self.recipe, example)).to(device())

    @property
    def weights(self) -> list[str]:
        """The weights that a checkpoint of this run holds, by name: as trained, and averages, the longest last."""
        return weights_of(self.recipe)

    def denoiser(self, weights: str = "", found: Path | None = None) -> Denoiser:
        """The denoiser with the named weights of a checkpoint (the newest); empty: the longest average.

        Errors: `FileNotFoundError` if there is no checkpoint yet; `ValueError` for unknown weights; `DamagedFile`.
        """
        found = found or checkpoint.newest(self.folder / "checkpoints")
        if found is None:
            raise FileNotFoundError(f"{self.folder} has no checkpoint yet: `anylatent train {self.folder}` makes one")
        weights = weights or self.recipe.sample.weights or self.weights[-1]
        if weights not in self.weights:
            raise ValueError(f"there are no weights '{weights}': this run keeps {', '.join(self.weights)}")
        if (found, weights) in self._loaded:
            return self._loaded[found, weights]
        denoiser = build_denoiser(self.recipe, self.tokenizer.specs, self.facts.conditions)
        tensors = files.read_tensors(found / "trained.safetensors")
        if weights != "trained":
            tensors |= files.read_tensors(found / f"{weights}.safetensors")
        prefix = "roles.student."
        own = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
        checkpoint.load_weights(denoiser, own, found)
        self._loaded[found, weights] = denoiser.requires_grad_(False).eval().to(device())
        return self._loaded[found, weights]

    @property
    def finished(self) -> bool:
        """Whether it holds everything that its recipe says: trained to the end, sampled, judged, reported."""
        newest = checkpoint.newest(self.folder / "checkpoints")
        wanted = ["samples/samples.json", "report.html", *(["evaluation.json"] if self.recipe.evaluate else [])]
        return newest is not None and int(newest.name) >= self.recipe.train.steps and all((self.folder / name).is_file() for name in wanted)

    # --- training ----------------------------------------------------------------------------------------------

    def train(self) -> Iterator[Event]:
        """Train what is not trained yet, from where it stopped: the tokenizer, then its latents, then the denoiser.

        Errors: `InUse` while another process works in the folder.
        """
        with self.lock.held() if is_main_process() else nullcontext():
            yield from self._train()

    def _train(self) -> Iterator[Event]:
        accelerator = make_accelerator()
        if self.train_set.problems:
            yield Note(
                f"{len(self.train_set.problems)} records could not be read and are left out; the first: {self.train_set.problems[0]}"
            )
        missing = not self._tokenizer_folder.exists
        accelerator.wait_for_everyone()  # before one process makes what the others would then find
        if missing:
            yield from self._train_tokenizer(accelerator)
        latents = None
        yield Stage("latents", len(self.train_set))
        with accelerator.main_process_first():
            for done in encode(self.train_set, self.tokenizer, cache_folder()):
                if isinstance(done, Latents):
                    latents = done
                else:
                    yield Step("latents", done, len(self.train_set))
        assert latents is not None, "encode ends with the latents"
        asked = condition_values(self.recipe, self.train_set)
        denoiser = build_denoiser(self.recipe, self.tokenizer.specs, self.facts.conditions)
        course = DenoiserCourse(denoiser, latents, asked, self.recipe.method, self.recipe.objective)
        seed = seed_of("denoiser", self.recipe.seed)
        for event in train(course, self.recipe.train, self.folder / "checkpoints", accelerator, seed, self.log):
            yield event
            if isinstance(event, Saved):
                self._loaded.clear()
            if isinstance(event, Saved) and event.what == "checkpoint" and self.recipe.train.preview:
                yield self._preview(int(event.path.name))

    def _train_tokenizer(self, accelerator: Accelerator) -> Iterator[Event]:
        tokenizer = build_tokenizer(self.recipe, self.train_set[0].sample)
        if tokenizer.trainable:
            tokenizer.prepare(_All(self.train_set))
            training = self.recipe.tokenizer.train  # pyright: ignore[reportAttributeAccessIssue]
            folder = self._tokenizer_folder.path / "checkpoints"
            yield from train(
                TokenizerCourse(tokenizer, self.train_set), training, folder, accelerator, seed_of("tokenizer", self.recipe.seed), self.log
            )
        if accelerator.is_main_process:
            tokenizer.eval()
            tokenizer.fit(_All(self.train_set))
            self._tokenizer_folder.save(tokenizer, self._facts_of(tokenizer))
        accelerator.wait_for_everyone()

    def _facts_of(self, tokenizer: Tokenizer) -> TokenizerFacts:
        """What is to be known of the training data later; one sample is written beside it."""
        asked = condition_values(self.recipe, self.train_set)
        denoiser = build_denoiser(self.recipe, tokenizer.specs, {name: [row.get(name) for row in asked] for name in self.recipe.conditions})
        named: Mapping[str, Conditioner] = denoiser.conditions.named  # pyright: ignore[reportAssignmentType]
        written = self.recipe.modality.write([self.train_set[0].sample], self._tokenizer_folder.path)
        folder = self._tokenizer_folder.path
        readable = [path.relative_to(folder).as_posix() for path in written if path.suffix in self.recipe.modality.suffixes]
        problems = self.train_set.problems
        return TokenizerFacts(
            tokenizer=tokenizer.facts,
            fingerprint=tokenizer.fingerprint(),
            conditions={name: conditioner.examples for name, conditioner in named.items()},
            asked=[asked[i * len(asked) // min(len(asked), _ASKED)] for i in range(min(len(asked), _ASKED))],
            sample=readable[0] if readable else "",
            left_out=len(problems),
            first_left_out=problems[0] if problems else "",
        )

    def _preview(self, step: int) -> Saved:
        made = self.sample(self.recipe.train.preview, seed=self.recipe.sample.seed, steps=min(self.recipe.sample.steps, 20))
        sheet = self.recipe.modality.sheet(made.samples, captions(made.asked))
        return Saved("preview", files.write_bytes(self.folder / "previews" / f"{step:08d}.png", sheet))

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
        `Tokenizer.layout`). `changes`: other fields of `Sampling` (solver, schedule, hooks…). Errors: `ValueError` for what
        the run cannot do, by name.
        """
        sampling = self._sampling(count, seed, steps, guidance, changes)
        seeds = torch.arange(sampling.seed, sampling.seed + sampling.count)
        asked = self._asked(condition, seeds)
        state = self.tokenizer.layout(seeds, asked, size)
        return _watched(self._making(state, asked, self._generator(sampling, weights)), watch)

    def sampling(self) -> Generator[Event, None, Samples]:
        """Make the samples that the recipe asks for: yields what happens, returns them."""
        sampling = self.recipe.sample
        seeds = torch.arange(sampling.seed, sampling.seed + sampling.count)
        asked = self._asked(None, seeds)
        return self._making(self.tokenizer.layout(seeds, asked), asked, self._generator(sampling, ""))

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
        asked = [{} for _ in range(sampling.count)] if condition is None else self._asked(condition, seeds)
        generator = self._generator(sampling, weights)
        edit = editor.edit(self.tokenizer, given, seeds, generator, asked)
        if edit.noised is not None:
            generator.noised = edit.noised
        made = _watched(self._making(edit.state, asked, generator, edit.sampling, edit.begin, edit.known), watch)
        return replace(made, samples=editor.finish(made.samples, given))

    def generator(self, weights: str = "", **changes: Any) -> RowGenerator:
        """What makes rows of any start state, and stays ready: for a policy, or a metric that needs one. `changes`: of `Sampling`."""
        return self._generator(self._sampling(None, None, None, None, changes), weights)

    def _generator(self, sampling: Sampling, weights: str) -> RowGenerator:
        others = {name: self._other(name, sampling.guidance.kind) for name in sampling.guidance.denoisers()}
        return RowGenerator(self.denoiser(weights), sampling, not self.recipe.objective.completes, others)

    def _other(self, name: str, kind: str) -> Denoiser:
        """A denoiser that a guidance names: weights of this run, `WEIGHTS@STEP` of one of its checkpoints, or another run's folder."""
        if name in self.weights:
            return self.denoiser(name)
        weights, sign, step = name.partition("@")
        if sign:
            return self.denoiser(weights, self._checkpoint(step))
        if not (Path(name) / "recipe.yaml").is_file():
            raise ValueError(no_denoiser(self.recipe, kind, name))
        other = Run.open(name)
        if other.tokenizer.fingerprint() != self.tokenizer.fingerprint():
            raise ValueError(
                f"guidance asks the denoiser of {name}, whose tokens are others: its tokenizer must be the one of {self.folder}"
            )
        return other.denoiser()

    def _checkpoint(self, step: str) -> Path:
        kept = sorted(path for path in (self.folder / "checkpoints").glob("*") if path.name.isdigit())
        for path in kept:
            if step.isdigit() and int(path.name) == int(step):
                return path
        raise ValueError(
            f"{self.folder} has no checkpoint of step '{step}': it keeps {', '.join(str(int(path.name)) for path in kept) or 'none'}"
        )

    def generate(self, state: State, conditions: Sequence[Mapping[str, Any]], begin: float = 1.0, **changes: Any) -> State:
        """The rows of a start state, made (see `RowGenerator`)."""
        return self.generator(**changes)(state, conditions, begin)

    def _sampling(
        self, count: int | None, seed: int | None, steps: int | None, guidance: float | Guidance | None, changes: Mapping[str, Any]
    ) -> Sampling:
        node = ClassifierFree(scale=guidance) if isinstance(guidance, int | float) else guidance
        given = {"count": count, "seed": seed, "steps": steps, "guidance": node} | dict(changes)
        fields = {name: getattr(self.recipe.sample, name) for name in Sampling.model_fields}
        return Sampling(**(fields | {name: value for name, value in given.items() if value is not None}))

    def _asked(self, condition: Asked, seeds: torch.Tensor) -> list[dict[str, Any]]:
        if condition is None:
            return self._drawn(seeds)
        if isinstance(condition, Mapping):
            return [dict(condition) for _ in seeds]
        if len(condition) != len(seeds):
            raise ValueError(f"{len(condition)} conditions were given for {len(seeds)} samples: give one for all, or one each")
        return [dict(each) for each in condition]

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
        yield Stage("sample", len(state))
        finished = []
        for done in generator.stream(state, asked, begin, known, sampling):
            finished.append(done)
            yield Step("sample", len(finished), len(state))
        finished.sort(key=lambda done: done.row)
        made = gathered(finished, state).state
        samples = self.tokenizer.decode(made)
        return Samples(samples, asked, state.seeds.tolist(), made, receipts(finished), time.perf_counter() - started, generator)

    def save_samples(self, made: Samples, folder: Path) -> list[Path]:
        """Write samples as files people open, with a sheet, `samples.json` (seeds, conditions) and `receipts.json`."""
        modality = self.recipe.modality
        with files.whole_folder(folder) as part:
            modality.write(made.samples, part)
            files.write_bytes(part / "sheet.png", modality.sheet(made.samples[:100], captions(made.asked[:100])))
            files.write_json(part / "samples.json", [{"seed": s, "asked": a} for s, a in zip(made.seeds, made.asked, strict=True)])
            receipts = {name: {"counts": r.counts, "rows": r.rows, "note": r.note} for name, r in made.receipts.items()}
            files.write_json(part / "receipts.json", receipts | {"seconds": made.seconds})
        return sorted(folder.iterdir())

    # --- judging and showing -----------------------------------------------------------------------------------

    def evaluate(self, made: Samples | None = None, metrics: Sequence[Metric] = ()) -> list[Measure]:
        """Metrics (the recipe's) on `made` (or on fresh samples as the recipe asks); the recipe's are written to `evaluation.json`.

        A metric that makes samples of its own makes them as `made` were.
        """
        made = made or self.sample()
        evidence = Evidence(
            self.recipe.modality,
            made.samples,
            made.asked,
            self.train_set,
            self.test_set,
            self.tokenizer,
            cache_folder() / "metrics",
            self.recipe.seed,
            made.generator,
        )
        measures: list[Measure] = []
        for metric in metrics or self.recipe.evaluate:
            try:
                metric.require(len(made))
                measures += metric.compute(evidence)
            except TooFewSamples as error:
                measures.append(Measure(metric.kind, float("nan"), float("nan"), float("nan"), len(made), "neither", note=str(error)))
        if not metrics:
            files.write_json(self.folder / "evaluation.json", [measure.written() for measure in measures])
        return measures

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"


def _watched(making: Generator[Event, None, Samples], watch: Callable[[Event], None] | None) -> Samples:
    """What a generator returns, its events handed to `watch`."""
    while True:
        try:
            event = next(making)
        except StopIteration as stop:
            return stop.value
        if watch:
            watch(event)


class _All(Sequence):
    """The samples of a data set, read as they are asked for."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.dataset[i].sample for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.dataset[index % len(self)].sample


def captions(asked: Sequence[Mapping[str, Any]]) -> list[str]:
    """A short line a sample: what it was asked to be."""

    def text(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return [", ".join(text(value) if len(row) == 1 else f"{name} {text(value)}" for name, value in row.items()) for row in asked]


def device() -> str:
    """Where networks run: the GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def environment() -> dict[str, Any]:
    """What a run was made with."""
    packages = ("anylatent", "torch", "numpy", "accelerate", "pydantic", "safetensors")
    return {
        "packages": {name: version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "linear_kernel": linear_kernel(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
