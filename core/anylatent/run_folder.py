"""What a run's folder holds: its recipe, data sets, tokenizer, weights and log, each loaded when it is first needed."""

import platform
import time
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import torch

from anylatent import files
from anylatent import recipe as recipes
from anylatent.build import TokenizerFacts, TokenizerFolder, build_classifier, build_dataset, build_denoiser, build_tokenizer
from anylatent.data import Dataset
from anylatent.denoiser import Denoiser
from anylatent.locking import FolderLock
from anylatent.nn.kernels import linear_kernel
from anylatent.perception.token_classifier import TokenClassifier
from anylatent.recipe.model import Recipe
from anylatent.sampling import Sampling
from anylatent.tokenizers.base import Tokenizer
from anylatent.training import checkpoint
from anylatent.training.averages import average_name
from anylatent.training.trainer import Log


class RunFolder:
    """A run as it lies in its folder."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe
        self.lock = FolderLock(folder)
        self._loaded: dict[tuple[Path, str], Denoiser] = {}
        self._classifiers: dict[Path, TokenClassifier] = {}

    @classmethod
    def open(cls, folder: Path | str, plugins: Any = None) -> Self:
        """A run that exists. Errors: `FileNotFoundError` if there is none; see `recipe.load`."""
        folder = Path(folder)
        if not (folder / "recipe.yaml").is_file():
            raise FileNotFoundError(f"{folder} is not a run: it has no recipe.yaml. `anylatent run RECIPE --out {folder}` makes one")
        return cls(folder, recipes.load(folder / "recipe.yaml", plugins=plugins))

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
    def tokenizer_folder(self) -> TokenizerFolder:
        return TokenizerFolder(self.folder / "tokenizer")

    @cached_property
    def facts(self) -> TokenizerFacts:
        """What this run knows of its training data. Errors: `FileNotFoundError` if it has not come so far; `DamagedFile`."""
        if not self.tokenizer_folder.exists:
            raise FileNotFoundError(f"{self.folder} has no trained tokenizer yet: `anylatent train {self.folder}` goes on with it")
        return self.tokenizer_folder.facts()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The trained tokenizer. Errors: as `facts`."""
        file = self.facts.sample  # of the run itself, so that it can sample where its data are not
        example = self.recipe.modality.read(self.tokenizer_folder.path / file) if file else self.train_set[0].sample
        return self.tokenizer_folder.load_into(build_tokenizer(self.recipe, example)).to(device())

    @property
    def weights(self) -> list[str]:
        """The weights that a checkpoint of this run holds, by name: as trained, and averages, the longest last."""
        return weights_of(self.recipe)

    def denoiser(self, weights: str = "", found: Path | None = None) -> Denoiser:
        """The denoiser with the named weights of a checkpoint (the newest); empty: `sample.weights`, or else the longest average.

        Errors: `FileNotFoundError` if there is no checkpoint yet; `ValueError` for unknown weights; `DamagedFile`.
        """
        found = found or checkpoint.newest(self.folder / "checkpoints")
        if found is None:
            raise FileNotFoundError(f"{self.folder} has no checkpoint yet: `anylatent train {self.folder}` makes one")
        weights = weights or self.recipe.sample.weights or self.weights[-1]
        if weights not in self.weights:
            raise ValueError(f"there are no weights '{weights}': {self.folder} keeps {', '.join(self.weights)}")
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

    def classifier_folder(self, condition: str) -> Path:
        """Where the checkpoints of a condition's classifier are."""
        return self.folder / "classifiers" / condition / "checkpoints"

    def classifier(self, condition: str) -> TokenClassifier:
        """The classifier of a condition, with its longest average of weights in the newest checkpoint.

        Errors: `ValueError` if the recipe has none; `FileNotFoundError` if it is not trained yet; `DamagedFile`.
        """
        if condition not in self.recipe.classifiers:
            raise ValueError(no_classifier(self.recipe, condition, str(self.folder)))
        found = checkpoint.newest(self.classifier_folder(condition))
        if found is None or condition not in self.facts.classes:
            raise FileNotFoundError(
                f"{self.folder} has no trained classifier of '{condition}' yet: `anylatent train {self.folder}` goes on with it"
            )
        if found not in self._classifiers:
            classifier = build_classifier(self.recipe, condition, self.tokenizer.specs, self.facts.classes[condition])
            tensors = files.read_tensors(found / "trained.safetensors")
            decays = self.recipe.classifiers[condition].train.ema
            if decays:
                tensors |= files.read_tensors(found / f"{average_name(max(decays))}.safetensors")
            prefix = "classifier."
            checkpoint.load_weights(classifier, {name.removeprefix(prefix): x for name, x in tensors.items()}, found)
            self._classifiers[found] = classifier.requires_grad_(False).eval().to(device())
        return self._classifiers[found]

    def forget_weights(self) -> None:
        """Load weights anew when they are next asked for: a new checkpoint was written."""
        self._loaded.clear()
        self._classifiers.clear()

    @property
    def finished(self) -> bool:
        """Whether it holds everything that its recipe says: trained to the end, sampled, judged, reported."""
        trained = {self.folder / "checkpoints": self.recipe.train}
        trained |= {self.classifier_folder(name): config.train for name, config in self.recipe.classifiers.items()}
        for folder, training in trained.items():
            newest = checkpoint.newest(folder)
            if newest is None or int(newest.name) < training.steps:
                return False
        wanted = ["samples/samples.json", "report.html", *(["evaluation.json"] if self.recipe.evaluate else [])]
        return all((self.folder / name).is_file() for name in wanted)

    def other_denoiser(self, name: str, kind: str) -> Denoiser:
        """A denoiser that a guidance names: weights of this run, `WEIGHTS@STEP` of one of its checkpoints, or another run's folder."""
        if name in self.weights:
            return self.denoiser(name)
        weights, sign, step = name.partition("@")
        if sign:
            return self.denoiser(weights, self._checkpoint(step))
        if not (Path(name) / "recipe.yaml").is_file():
            raise ValueError(no_denoiser(self.recipe, kind, name, str(self.folder)))
        other = RunFolder.open(name)
        if other.tokenizer.fingerprint() != self.tokenizer.fingerprint():
            raise ValueError(
                f"guidance asks the denoiser of {name}, whose tokens are others: its tokenizer must be the one of {self.folder}"
            )
        return other.denoiser()

    def lacking(self, sampling: Sampling, weights: str = "") -> Iterator[str]:
        """What it was not trained to have, or has no more, of what a sampling asks; `weights`: where that names none."""
        guidance = sampling.guidance
        asked: list[Callable[[], Any]] = [
            partial(self.denoiser, sampling.weights or weights),
            *(partial(self.other_denoiser, name, guidance.kind) for name in guidance.denoisers()),
            *(partial(self.classifier, name) for name in sampling.classifiers()),
        ]
        for load in asked:
            try:
                load()
            except (ValueError, FileNotFoundError) as error:
                yield str(error)

    def _checkpoint(self, step: str) -> Path:
        kept = sorted(path for path in (self.folder / "checkpoints").glob("*") if path.name.isdigit())
        for path in kept:
            if step.isdigit() and int(path.name) == int(step):
                return path
        raise ValueError(
            f"{self.folder} has no checkpoint of step '{step}': it keeps {', '.join(str(int(path.name)) for path in kept) or 'none'}"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"


def weights_of(recipe: Recipe) -> list[str]:
    """The weights that a checkpoint of its run holds, by name: as trained, and averages, the longest last."""
    return ["trained", *(average_name(decay) for decay in sorted(recipe.train.ema))]


def no_denoiser(recipe: Recipe, guidance: str, name: str, run: str = "this run") -> str:
    """What to say of a denoiser that guidance names, and that its run cannot have."""
    return (
        f"guidance '{guidance}' asks the denoiser '{name}': expected weights of {run} "
        f"({', '.join(weights_of(recipe))}), WEIGHTS@STEP of a checkpoint that it keeps, or the folder of another run"
    )


def no_classifier(recipe: Recipe, condition: str, run: str = "") -> str:
    """What to say of a classifier that a correction asks, and that the recipe (of `run`) does not train."""
    known = ", ".join(recipe.classifiers) or "none"
    whose = f"the recipe of {run}" if run else "the recipe"
    return (
        f"a correction asks the classifier of '{condition}', and {whose} trains none of it (known: {known}): "
        f"add `classifiers: {{{condition}: {{}}}}` to the recipe, and train"
    )


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
