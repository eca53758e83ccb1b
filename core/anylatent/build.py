"""The one room where things are built: from a recipe to data sets, tokenizer and denoiser."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError

from anylatent.conditioners.base import Conditioner, Conditions
from anylatent.conditioners.config import ConditionerConfig
from anylatent.data import Dataset, Split
from anylatent.denoiser import Corruption, Denoiser
from anylatent.files import DamagedFile, check_seal, read_json, read_tensors, seal, write_json, write_tensors
from anylatent.node import Spec
from anylatent.perception.token_classifier import TokenClassifier
from anylatent.random import seed_of
from anylatent.recipe.model import Recipe
from anylatent.spec import StreamSpec
from anylatent.tokenizers.base import Tokenizer
from anylatent.training.checkpoint import load_weights


def build_dataset(recipe: Recipe, split: Split) -> Dataset:
    """A split of the recipe's data. Errors: `ValueError` if it is empty; see `DatasetConfig.build`."""
    dataset = recipe.modality.data.build(split)
    if not len(dataset):
        raise ValueError(f"data set '{recipe.modality.data.kind}' has no {split} samples{_first_problem(dataset)}")
    return dataset


def _first_problem(dataset: Dataset) -> str:
    return f": {len(dataset.problems)} could not be read, the first: {dataset.problems[0]}" if dataset.problems else ""


def build_tokenizer(recipe: Recipe, example: Any) -> Tokenizer:
    """The tokenizer for samples like `example`, untrained; its initial weights depend on the recipe's seed alone."""
    with _seeded(recipe.seed, "tokenizer"):
        return recipe.tokenizer.build(example, recipe.modality.sample_axes())


def build_denoiser(recipe: Recipe, specs: tuple[StreamSpec, ...], values: Mapping[str, Sequence[Any]]) -> Denoiser:
    """The denoiser for these streams; `values`: those of each condition in the training set.

    Errors: `ValueError` if a path cannot carry a stream, or a condition cannot be built.
    """
    corruptions = {}
    for spec in specs:
        path, prediction = recipe.objective.of(spec.name)
        refusal = path.refuses(spec)
        if refusal:
            raise ValueError(refusal)
        corruptions[spec.name] = Corruption(path, prediction)
    width = recipe.denoiser.model_width
    with _seeded(recipe.seed, "denoiser"):
        named = {name: _conditioner(name, config, width, values[name]) for name, config in recipe.conditions.items()}
        backbone = recipe.denoiser.build(specs, any(config.slot == "cross" for config in recipe.conditions.values()))
    return Denoiser(backbone, Conditions(width, named), corruptions)


def _conditioner(name: str, config: ConditionerConfig, width: int, values: Sequence[Any]) -> Conditioner:
    try:
        return config.build(width, values)
    except ValueError as error:
        raise ValueError(f"condition '{name}': {error}") from error


def build_classifier(recipe: Recipe, name: str, specs: tuple[StreamSpec, ...], classes: Sequence[Any]) -> TokenClassifier:
    """The classifier of a condition, untrained, for these streams noised as the denoiser's are. Errors: `ValueError`."""
    config = recipe.classifiers[name]
    with _seeded(recipe.seed, "classifier", name):
        backbone = config.network.build(specs, False)
        if backbone.self_conditioning:
            raise ValueError(f"classifier of '{name}': its network is told no prediction: set self_conditioning to 0")
        corruptions = {spec.name: Corruption(*recipe.objective.of(spec.name)) for spec in specs}
        return TokenClassifier(backbone, corruptions, classes)


def condition_values(recipe: Recipe, dataset: Dataset, names: Collection[str] | None = None) -> list[dict[str, Any]]:
    """What each record is, in the recipe's conditions or in those named. Errors: `ValueError` if no record has one of that name."""
    names = recipe.conditions if names is None else names
    if not names:
        return [{} for _ in range(len(dataset))]
    known: set[str] = set()
    asked = []
    for index in range(len(dataset)):
        conditions = dataset.conditions(index)
        known |= set(conditions)
        asked.append({name: conditions[name] for name in names if conditions.get(name) is not None})
    for name in names:
        if not any(name in row for row in asked):
            raise ValueError(
                f"no record of '{recipe.modality.data.kind}' has the condition '{name}': its records have {sorted(known) or 'none'}"
            )
    return asked


@contextmanager
def _seeded(*parts: object) -> Iterator[None]:
    """Initial weights from torch's generator, seeded for this block alone."""
    before = torch.get_rng_state()
    torch.manual_seed(seed_of("weights", *parts))
    try:
        yield
    finally:
        torch.set_rng_state(before)


class TokenizerFacts(Spec):
    """What a run must know of its training data when those are not there any more."""

    tokenizer: dict[str, Any]
    """`Tokenizer.facts`."""
    fingerprint: str
    """Of the tokenizer."""
    conditions: dict[str, list[Any]]
    """Values from which each conditioner is built in its shape."""
    asked: list[dict[str, Any]]
    """What training samples are, in the recipe's conditions and those of its classifiers: some of them, evenly spread."""
    sample: str
    """The file with one sample, by which the tokenizer is built in its shape; empty if the modality cannot write one."""
    left_out: int
    """Records that could not be read."""
    first_left_out: str
    classes: dict[str, list[Any]] = Field(default={})
    """The classes that each classifier tells apart."""


@dataclass(frozen=True)
class TokenizerFolder:
    """A trained, fitted tokenizer on disk: its weights and facts, and what is needed to build it and the denoiser again."""

    path: Path

    @property
    def exists(self) -> bool:
        return (self.path / "sha256.json").is_file()

    def save(self, tokenizer: Tokenizer, facts: TokenizerFacts) -> None:
        """The seal is written last: a folder that has one is whole."""
        write_tensors(self.path / "tokenizer.safetensors", tokenizer.state_dict())
        write_json(self.path / "facts.json", facts.model_dump(mode="json"))
        seal(self.path)

    def facts(self) -> TokenizerFacts:
        """Errors: `DamagedFile` if a file in the folder is not what was saved."""
        check_seal(self.path)
        try:
            return TokenizerFacts.model_validate(read_json(self.path / "facts.json"))
        except ValidationError as error:
            raise DamagedFile(
                f"{self.path / 'facts.json'} was written by another version: {error.error_count()} of its facts differ"
            ) from error

    def load_into(self, tokenizer: Tokenizer) -> Tokenizer:
        """Errors: `DamagedFile` if the files are not what was saved, or were saved of another tokenizer."""
        facts = self.facts()
        tokenizer.restore(facts.tokenizer)
        load_weights(tokenizer, read_tensors(self.path / "tokenizer.safetensors"), self.path)
        if tokenizer.fingerprint() != facts.fingerprint:
            raise DamagedFile(f"{self.path} holds another tokenizer than the recipe's '{tokenizer.config.kind}': was the recipe changed?")
        return tokenizer.eval()
