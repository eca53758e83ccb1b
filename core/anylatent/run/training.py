"""Training a run: its tokenizer, then the tokens, then the denoiser, then classifiers, each from where it stopped."""

import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from accelerate import Accelerator

from anylatent import files
from anylatent.build import TokenizerFacts, build_classifier, build_denoiser, build_tokenizer, condition_values
from anylatent.conditioners.base import Conditioner
from anylatent.data import Dataset
from anylatent.denoiser import Denoiser
from anylatent.perception.token_classifier import classes_of
from anylatent.random import seed_of
from anylatent.run.samples import captions
from anylatent.tokenizers.base import Tokenizer
from anylatent.training import checkpoint
from anylatent.training.courses import ClassifierCourse, DenoiserCourse, TokenizerCourse
from anylatent.training.events import Event, Note, Saved, Stage, Step
from anylatent.training.latents import Latents, encode
from anylatent.training.start import Pairs, Start
from anylatent.training.trainer import make_accelerator, train

if TYPE_CHECKING:
    from anylatent.run.run import Run

_ASKED = 1000
"""Training samples whose conditions a run remembers, to ask new samples the same."""

Lessons = tuple[Latents, list[dict[str, Any]]]
"""Clean tokens, and what each sample is."""


def train_run(run: "Run") -> Iterator[Event]:
    """Train what is not trained yet. The caller holds the run's lock."""
    accelerator = make_accelerator()
    problems = run.train_set.problems
    if problems:
        yield Note(f"{len(problems)} records could not be read and are left out; the first: {problems[0]}")
    missing = not run.tokenizer_folder.exists
    accelerator.wait_for_everyone()  # before one process makes what the others would then find
    if missing:
        yield from (_train_tokenizer if run.recipe.start is None else _take_tokenizer)(run, accelerator)
    start = run.recipe.start
    if start is not None and start.pairs is not None:
        latents, asked = yield from _made(run, start, start.pairs, accelerator)
    else:
        latents, asked = yield from _encoded(run, accelerator)
    denoiser = _new_denoiser(run)
    course = DenoiserCourse(denoiser, latents, asked, run.recipe.method, run.recipe.objective)
    seed = seed_of("denoiser", run.recipe.seed)
    for event in train(course, run.recipe.train, run.folder / "checkpoints", accelerator, seed, run.log):
        yield event
        if isinstance(event, Saved):
            run.forget_weights()
        if isinstance(event, Saved) and event.what == "checkpoint" and run.recipe.train.preview:
            yield _preview(run, int(event.path.name))
    yield from _train_classifiers(run, latents if start is None or start.pairs is None else None, accelerator)


def _train_classifiers(run: "Run", latents: Latents | None, accelerator: Accelerator) -> Iterator[Event]:
    """Those of the recipe, one after the other, on the tokens of the training set (None: to be encoded)."""
    for name, config in run.recipe.classifiers.items():
        if latents is None:
            latents, _ = yield from _encoded(run, accelerator)
        classifier = build_classifier(run.recipe, name, run.tokenizer.specs, run.facts.classes[name])
        classes = classifier.index([row.get(name) for row in condition_values(run.recipe, run.train_set, [name])])
        course = ClassifierCourse(name, classifier, latents, classes, run.recipe.objective)
        seed = seed_of("classifier", name, run.recipe.seed)
        for event in train(course, config.train, run.classifier_folder(name), accelerator, seed, run.log):
            yield event
            if isinstance(event, Saved):
                run.forget_weights()


def _train_tokenizer(run: "Run", accelerator: Accelerator) -> Iterator[Event]:
    recipe, folder = run.recipe, run.tokenizer_folder
    tokenizer = build_tokenizer(recipe, run.train_set[0].sample)
    if tokenizer.trainable:
        tokenizer.prepare(_All(run.train_set))
        training = recipe.tokenizer.train  # pyright: ignore[reportAttributeAccessIssue]
        course = TokenizerCourse(tokenizer, run.train_set)
        yield from train(course, training, folder.path / "checkpoints", accelerator, seed_of("tokenizer", recipe.seed), run.log)
    if accelerator.is_main_process:
        tokenizer.eval()
        tokenizer.fit(_All(run.train_set))
        folder.save(tokenizer, _facts(run, tokenizer))
    accelerator.wait_for_everyone()


def _facts(run: "Run", tokenizer: Tokenizer) -> TokenizerFacts:
    """What is to be known of the training data later; one sample is written beside it."""
    recipe, folder = run.recipe, run.tokenizer_folder.path
    asked = condition_values(recipe, run.train_set)
    denoiser = build_denoiser(recipe, tokenizer.specs, {name: [row.get(name) for row in asked] for name in recipe.conditions})
    named: Mapping[str, Conditioner] = denoiser.conditions.named  # pyright: ignore[reportAssignmentType]
    written = recipe.modality.write([run.train_set[0].sample], folder)
    readable = [path.relative_to(folder).as_posix() for path in written if path.suffix in recipe.modality.suffixes]
    return TokenizerFacts(
        tokenizer=tokenizer.facts,
        fingerprint=tokenizer.fingerprint(),
        conditions={name: conditioner.examples for name, conditioner in named.items()},
        sample=readable[0] if readable else "",
        **_of_the_data(run),
    )


def _of_the_data(run: "Run") -> dict[str, Any]:
    """The facts that are of the training data alone."""
    asked = condition_values(run.recipe, run.train_set, run.recipe.conditions | run.recipe.classifiers)
    count, problems = min(len(asked), _ASKED), run.train_set.problems
    return {
        "asked": [asked[i * len(asked) // count] for i in range(count)],
        "left_out": len(problems),
        "first_left_out": problems[0] if problems else "",
        "classes": {name: classes_of([row.get(name) for row in asked]) for name in run.recipe.classifiers},
    }


def _take_tokenizer(run: "Run", accelerator: Accelerator) -> Iterator[Event]:
    """The tokenizer of the run that this one starts from, and what shaped its denoiser; the rest is of this run's own data."""
    other = run.started_from
    if accelerator.is_main_process:
        mine = run.tokenizer_folder
        ignored = shutil.ignore_patterns("checkpoints", "sha256.json")
        shutil.copytree(other.tokenizer_folder.path, mine.path, ignore=ignored, dirs_exist_ok=True)
        mine.save(other.tokenizer, other.facts.model_copy(update=_of_the_data(run)))
        yield Note(f"the tokenizer and the first weights are those of {other.folder}")
    accelerator.wait_for_everyone()


def _new_denoiser(run: "Run") -> Denoiser:
    """The denoiser that training begins with: new, or with the weights of the run that this one starts from."""
    denoiser = build_denoiser(run.recipe, run.tokenizer.specs, run.facts.conditions)
    if run.recipe.start is not None and checkpoint.newest(run.folder / "checkpoints") is None:
        other = run.started_from
        checkpoint.load_weights(denoiser, other.denoiser(run.recipe.start.weights).state_dict(), other.folder)
    return denoiser


def _encoded(run: "Run", accelerator: Accelerator) -> Generator[Event, None, Lessons]:
    """The tokens of the training set."""
    latents = None
    yield Stage("latents", len(run.train_set))
    with accelerator.main_process_first():
        for done in encode(run.train_set, run.tokenizer, files.cache_folder()):
            if isinstance(done, Latents):
                latents = done
            else:
                yield Step("latents", done, len(run.train_set))
    assert latents is not None, "encode ends with the latents"
    return latents, condition_values(run.recipe, run.train_set)


def _made(run: "Run", start: Start, pairs: Pairs, accelerator: Accelerator) -> Generator[Event, None, Lessons]:
    """Tokens that the run that this one starts from makes, kept in this run's folder: they are made once."""
    folder = run.folder / "pairs"
    yield Stage("pairs", pairs.count)
    with accelerator.main_process_first():
        if not folder.exists():
            made, asked = yield from run.started_from.rows(pairs, pairs.weights or start.weights, "pairs")
            with files.whole_folder(folder) as part:
                Latents.of([made.to("cpu")]).write(part / "tokens.safetensors")
                files.write_json(part / "asked.json", asked)
                files.seal(part)
        else:
            yield Step("pairs", pairs.count, pairs.count)
    files.check_seal(folder)
    known = run.recipe.conditions  # the other's classifiers may have been asked more
    asked = [{name: row[name] for name in known if name in row} for row in files.read_json(folder / "asked.json")]
    return Latents.read(folder / "tokens.safetensors", first=pairs.seed), asked


def _preview(run: "Run", step: int) -> Saved:
    sampling = run.recipe.sample
    heard = tuple(correction for correction in sampling.corrections if not correction.classifiers())  # those learn after the denoiser
    made = run.sample(run.recipe.train.preview, seed=sampling.seed, steps=min(sampling.steps, 20), corrections=heard)
    sheet = run.recipe.modality.sheet(made.samples, captions(made.asked))
    return Saved("preview", files.write_bytes(run.folder / "previews" / f"{step:08d}.png", sheet))


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
