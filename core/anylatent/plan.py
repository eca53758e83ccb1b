"""The plan: a recipe, resolved against its data and checked as a whole, without training."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from anylatent.build import build_classifier, build_dataset, build_denoiser, build_tokenizer, condition_values
from anylatent.catalogue import in_line
from anylatent.data import Dataset
from anylatent.denoiser import Denoiser
from anylatent.energies import Decode
from anylatent.files import DamagedFile
from anylatent.generation import promised
from anylatent.perception.token_classifier import classes_of
from anylatent.recipe.document import RecipeError
from anylatent.recipe.model import Recipe
from anylatent.run_folder import RunFolder, no_classifier, no_denoiser, weights_of
from anylatent.sampling import Sampling
from anylatent.state import State
from anylatent.tokenizers.base import Tokenizer
from anylatent.training import checkpoint
from anylatent.types import Int, Tensor

_LOOKED_AT = 64
"""Samples that are tokenized to count tokens."""


class PlanError(ValueError):
    """A recipe that is valid, but cannot run as a whole."""


@dataclass
class Plan:
    """What a recipe amounts to. `problems`: all that is in its way, in words; `notes`: what a person should know."""

    recipe: Recipe
    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        width = max((len(name) for name, _ in self.facts), default=0)
        lines = [f"{name:<{width}}  {text}" for name, text in self.facts]
        lines += [f"note: {text}" for text in self.notes] + [f"problem: {text}" for text in self.problems]
        return "\n".join(lines)

    def require(self) -> "Plan":
        """Itself. Errors: `PlanError` with all problems at once."""
        if self.problems:
            raise PlanError("this recipe cannot run:\n" + "\n".join(f"  - {text}" for text in self.problems))
        return self


def make_plan(recipe: Recipe) -> Plan:
    """Resolve and check: data, token counts, parameters, memory, capabilities and conflicts."""
    plan = Plan(recipe)
    try:
        train = build_dataset(recipe, "train")
    except (FileNotFoundError, ValueError, OSError) as error:
        plan.problems.append(str(error))
        return plan
    _data(plan, train)
    try:
        other = _start(plan, train)
        tokenizer, rows = _tokenizer(plan, train, other)
        _denoiser(plan, tokenizer, rows, train, other)
    except (ValueError, FileNotFoundError) as error:
        plan.problems.append(str(error))
    return plan


def _start(plan: Plan, train: Dataset) -> RunFolder | None:
    """The run that the recipe starts from, if there is one. Errors: `ValueError`, `FileNotFoundError` if it cannot go on from it."""
    recipe, start = plan.recipe, plan.recipe.start
    pairs = None if start is None else start.pairs
    if recipe.objective.coupling.made and pairs is None:
        plan.problems.append(
            f"coupling '{recipe.objective.coupling.kind}' needs samples that a run made, with their noise: name that run, "
            "`start: {run: FOLDER, pairs: {}}`"
        )
    if start is None:
        return None
    try:
        other = RunFolder.open(start.run)
        known = other.denoiser(start.weights)
    except (RecipeError, FileNotFoundError, ValueError) as error:
        raise ValueError(f"start: {error}") from error
    if (recipe.modality.kind, recipe.tokenizer) != (other.recipe.modality.kind, other.recipe.tokenizer):
        raise ValueError(
            f"start: {start.run} has tokens of {other.recipe.modality.kind} by another tokenizer: a run goes on with the tokens of the one "
            "that it starts from; take over its `tokenizer`"
        )
    plan.facts.append(("start", f"the tokenizer and weights of {start.run}"))
    if pairs is not None:
        made = f"{pairs.count:,} samples of it, {pairs.steps} steps of {pairs.solver.kind}"
        rows = _extremes(other.tokenizer.layout(torch.arange(_LOOKED_AT)))
        plan.facts.append(("pairs", f"{made}, {_calls(pairs, known, rows, other.tokenizer.decode)}"))
        found = [*_unsuited(pairs, other.recipe, known, train[0].sample), *other.lacking(pairs, start.weights)]
        if recipe.objective.coupling.made:
            found += pairs.undetermined([spec.name for spec in known.specs if not spec.given])
        plan.problems += [f"start.pairs: {text}" for text in found]
        plan.notes += [f"start.pairs: {text}" for text in pairs.unforced(known.specs, other.recipe.objective.forcing).values()]
    return other


def _data(plan: Plan, train: Dataset) -> None:
    modality = plan.recipe.modality
    plan.facts.append(("modality", f"{modality.kind}: {modality.sample}"))
    plan.facts.append(("data", f"{modality.data.kind}, {len(train):,} training samples"))
    if train.problems:
        plan.notes.append(f"{len(train.problems)} records could not be read; the first: {train.problems[0]}")


def _tokenizer(plan: Plan, train: Dataset, other: RunFolder | None) -> tuple[Tokenizer, State]:
    """The tokenizer, and rows of the smallest and the largest of some samples."""
    samples = [train[i].sample for i in range(min(len(train), _LOOKED_AT))]
    if other is not None:
        tokenizer = other.tokenizer.to("cpu")
    else:
        tokenizer = build_tokenizer(plan.recipe, samples[0])
        if tokenizer.trainable:
            tokenizer.prepare(samples)
    encoded = tokenizer.encode(samples)
    counts = sorted(_sizes(encoded).tolist())
    streams = ", ".join(f"{spec.name} ({spec.kind}, {spec.width} channels, {_axes(spec)})" for spec in tokenizer.specs)
    parameters = sum(p.numel() for p in tokenizer.parameters())
    trained = f", {parameters:,} parameters to train first" if tokenizer.trainable and other is None else ""
    plan.facts.append(("tokenizer", f"{plan.recipe.tokenizer.kind}: {streams}{trained}"))
    plan.facts.append(
        ("tokens a sample", f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]} (of {len(counts)} looked at)")
    )
    return tokenizer, _extremes(encoded)


def _sizes(rows: State) -> Int[Tensor, " rows"]:
    """How many tokens each has."""
    return torch.stack([stream.mask.sum(1) for stream in rows.streams.values()]).sum(0)


def _extremes(rows: State) -> State:
    """The smallest and the largest of some rows; one, if they are of one size."""
    sizes = _sizes(rows)
    return rows.select(list(dict.fromkeys([int(sizes.argmin()), int(sizes.argmax())])))


def _continued(recipe: Recipe, tokenizer: Tokenizer, other: RunFolder) -> Denoiser:
    """The denoiser in the shape of the run that it goes on from. Errors: `ValueError` if its weights do not fit."""
    if set(recipe.conditions) != set(other.recipe.conditions):
        raise ValueError(
            f"start: {other.folder} knows the conditions {sorted(other.recipe.conditions)}, this recipe has "
            f"{sorted(recipe.conditions)}: a run goes on with those of the one that it starts from"
        )
    denoiser = build_denoiser(recipe, tokenizer.specs, other.facts.conditions)
    try:
        checkpoint.load_weights(denoiser, other.denoiser().state_dict(), other.folder)
    except DamagedFile as error:
        raise ValueError(f"start: the denoiser of {other.folder} is not this recipe's: {error}") from error
    return denoiser


def _meant(denoiser: Denoiser, other: Denoiser, folder: Path) -> Iterator[str]:
    """What a person should know of first weights that were trained to say something else."""
    for name, own in denoiser.corruptions.items():
        theirs = other.corruptions[name]
        if (own.path, own.prediction) != (theirs.path, theirs.prediction):
            yield (
                f"start: the weights of {folder} learned to say {theirs.prediction} of stream '{name}' on the path {in_line(theirs.path)}, "
                f"and are to say {own.prediction} on {in_line(own.path)}: what they know is of little use here; take over the `objective`"
            )


def _axes(spec) -> str:
    return "axes " + " ".join(f"{axis.name}/{axis.unit}" for axis in spec.axes) if spec.axes else "no axes"


def _denoiser(plan: Plan, tokenizer: Tokenizer, rows: State, train: Dataset, other: RunFolder | None) -> None:
    recipe = plan.recipe
    asked = condition_values(recipe, train)
    if other is None:
        denoiser = build_denoiser(recipe, tokenizer.specs, {name: [row.get(name) for row in asked] for name in recipe.conditions})
    else:
        denoiser = _continued(recipe, tokenizer, other)
        plan.notes += _meant(denoiser, other.denoiser(), other.folder)
    parameters = sum(p.numel() for p in denoiser.parameters())
    paths = ", ".join(
        f"{spec.name} by {denoiser.path(spec.name).kind}, predicting {denoiser.corruptions[spec.name].prediction}"
        for spec in denoiser.specs
    )
    plan.facts.append(("denoiser", f"{recipe.denoiser.kind}, {parameters:,} parameters; {paths}"))
    plan.facts.append(
        ("conditions", ", ".join(f"{name} ({config.kind}, {config.slot})" for name, config in recipe.conditions.items()) or "none")
    )
    train_node, sample = recipe.train, recipe.sample
    count = len(train) if recipe.start is None or recipe.start.pairs is None else recipe.start.pairs.count
    plan.facts.append(
        (
            "training",
            f"{train_node.steps:,} steps of {train_node.batch} samples: {train_node.steps * train_node.batch / count:.1f} epochs",
        )
    )
    tokens = max(tokenizer.count(train[i].sample) for i in range(min(8, len(train))))
    plan.facts.append(("memory", f"about {_memory(parameters, recipe, tokens) / 2**20:,.0f} MiB while training"))
    calls = _calls(sample, denoiser, rows, lambda state: [train[0].sample] * len(state))
    plan.facts.append(("sampling", f"{sample.count} samples, {sample.steps} steps of {sample.solver.kind}: {calls}"))
    _classifiers(plan, tokenizer, train)
    plan.problems += [*_unsuited(sample, recipe, denoiser, train[0].sample), *_conflicts(plan, denoiser, tokenizer)]
    plan.notes += sample.unforced(denoiser.specs, recipe.objective.forcing).values()
    plan.notes += filter(None, [recipe.objective.coupling.seldom(asked, train_node.batch // train_node.accumulate)])


def _classifiers(plan: Plan, tokenizer: Tokenizer, train: Dataset) -> None:
    recipe = plan.recipe
    for name, config in recipe.classifiers.items():
        own = recipe.conditions.get(name)
        if own is not None and own.kind != "class":
            plan.problems.append(
                f"classifier of '{name}': it tells classes, and the condition '{name}' is of kind '{own.kind}': leave it out"
            )
            continue
        try:
            classes = classes_of([row.get(name) for row in condition_values(recipe, train, [name])])
            classifier = build_classifier(recipe, name, tokenizer.specs, classes)
        except ValueError as error:
            plan.problems.append(f"classifier of '{name}': {error}".replace(f"classifier of '{name}': classifier of", "classifier of"))
            continue
        parameters = sum(p.numel() for p in classifier.parameters())
        told = f"{config.network.kind}, {parameters:,} parameters, {len(classes)} classes"
        plan.facts.append((f"classifier of {name}", f"{told}; {config.train.steps:,} steps of {config.train.batch} samples"))


def _calls(sample: Sampling, denoiser: Denoiser, rows: State, decode: Decode) -> str:
    """Network calls a sample, of rows of such sizes: what is known of them before any is made."""
    try:
        calls = promised(denoiser, sample, rows, decode)
    except ValueError:  # it is among the problems
        return "no network calls"
    if calls is None:
        kinds = [sample.solver_of(spec.name) for spec in denoiser.specs if not spec.given]
        return f"as many network calls as '{next(solver.kind for solver in kinds if not solver.calls)}' needs"
    least, most = min(calls), max(calls)
    return f"{most:,} network calls each" if least == most else f"{least:,} to {most:,} network calls each, by their size"


def _unsuited(sampling: Sampling, recipe: Recipe, denoiser: Denoiser, sample: Any) -> Iterator[str]:
    """Why a denoiser that a recipe trains, on samples such as this one, cannot be sampled so."""
    yield from sampling.refusals(denoiser, bool(recipe.conditions))
    yield from sampling.guidance.unknown(denoiser.conditions)
    yield from sampling.unmeasured()
    yield from sampling.unjudged(sample)
    dropped = [name for name, config in recipe.conditions.items() if config.dropout == 0]
    if dropped and sampling.guidance.needs_null():
        kind = sampling.guidance.kind
        yield f"guidance '{kind}' needs a null that training has seen: give the conditions {dropped} a dropout above 0"


def _conflicts(plan: Plan, denoiser: Denoiser, tokenizer: Tokenizer) -> Iterator[str]:
    recipe = plan.recipe
    yield from recipe.objective.refusals(denoiser.specs)
    for metric in recipe.evaluate:
        yield from metric.refusals(recipe.modality, tokenizer)
        yield from metric.unanswered(denoiser)
        if recipe.sample.count < metric.min_n:
            yield f"metric '{metric.kind}' needs at least {metric.min_n} samples: sample.count is {recipe.sample.count}"
    names = weights_of(recipe)
    if recipe.sample.weights and recipe.sample.weights not in names:
        yield f"there will be no weights '{recipe.sample.weights}': this training keeps {', '.join(names)}"
    for name in recipe.sample.guidance.denoisers():
        weights, sign, step = name.partition("@")
        if sign and weights in names:
            kept = [*range(recipe.train.checkpoint, recipe.train.steps, recipe.train.checkpoint), recipe.train.steps][-checkpoint.KEPT :]
            if step not in map(str, kept):
                yield f"there will be no checkpoint of step '{step}': this training keeps {', '.join(map(str, kept))}"
        elif name not in names and not (Path(name) / "recipe.yaml").is_file():
            yield no_denoiser(recipe, recipe.sample.guidance.kind, name)
    yield from (no_classifier(recipe, name) for name in recipe.sample.classifiers() if name not in recipe.classifiers)


def _memory(parameters: int, recipe: Recipe, tokens: int) -> float:
    """Bytes: weights, gradients, two Adam moments, the averages; and about 34 numbers a token, width and block.

    Source of the 34: Korthikanti et al. 2022, 2205.05198.
    """
    held = parameters * 4 * (4 + len(recipe.train.ema))
    depth = getattr(recipe.denoiser, "depth", 12)
    seen = recipe.train.batch / recipe.train.accumulate * tokens * recipe.denoiser.model_width * depth * 34 * 4 / 2
    return held + seen
