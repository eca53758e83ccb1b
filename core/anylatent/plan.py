"""The plan: a recipe, resolved against its data and checked as a whole, without training."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from anylatent.build import build_dataset, build_denoiser, build_tokenizer, condition_values
from anylatent.data import Dataset
from anylatent.denoiser import Denoiser
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.guidance.none import Unguided
from anylatent.recipe.model import Recipe
from anylatent.sampling import Sampling
from anylatent.tokenizers.base import Tokenizer
from anylatent.training import checkpoint
from anylatent.training.averages import average_name

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
        tokenizer = _tokenizer(plan, train)
        _denoiser(plan, tokenizer, train)
    except ValueError as error:
        plan.problems.append(str(error))
    return plan


def _data(plan: Plan, train: Dataset) -> None:
    modality = plan.recipe.modality
    plan.facts.append(("modality", f"{modality.kind}: {modality.sample}"))
    plan.facts.append(("data", f"{modality.data.kind}, {len(train):,} training samples"))
    if train.problems:
        plan.notes.append(f"{len(train.problems)} records could not be read; the first: {train.problems[0]}")


def _tokenizer(plan: Plan, train: Dataset) -> Tokenizer:
    samples = [train[i].sample for i in range(min(len(train), _LOOKED_AT))]
    tokenizer = build_tokenizer(plan.recipe, samples[0])
    if tokenizer.trainable:
        tokenizer.prepare(samples)
    counts = sorted(torch.stack([stream.mask.sum(1) for stream in tokenizer.encode(samples).streams.values()]).sum(0).tolist())
    streams = ", ".join(f"{spec.name} ({spec.kind}, {spec.width} channels, {_axes(spec)})" for spec in tokenizer.specs)
    parameters = sum(p.numel() for p in tokenizer.parameters())
    trained = f", {parameters:,} parameters to train first" if tokenizer.trainable else ""
    plan.facts.append(("tokenizer", f"{plan.recipe.tokenizer.kind}: {streams}{trained}"))
    plan.facts.append(
        ("tokens a sample", f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]} (of {len(counts)} looked at)")
    )
    return tokenizer


def _axes(spec) -> str:
    return "axes " + " ".join(f"{axis.name}/{axis.unit}" for axis in spec.axes) if spec.axes else "no axes"


def _denoiser(plan: Plan, tokenizer: Tokenizer, train: Dataset) -> None:
    recipe = plan.recipe
    asked = condition_values(recipe, train)
    denoiser = build_denoiser(recipe, tokenizer.specs, {name: [row.get(name) for row in asked] for name in recipe.conditions})
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
    plan.facts.append(
        (
            "training",
            f"{train_node.steps:,} steps of {train_node.batch} samples: {train_node.steps * train_node.batch / len(train):.1f} epochs",
        )
    )
    tokens = max(tokenizer.count(train[i].sample) for i in range(min(8, len(train))))
    plan.facts.append(("memory", f"about {_memory(parameters, recipe, tokens) / 2**20:,.0f} MiB while training"))
    plan.facts.append(("sampling", f"{sample.count} samples, {sample.steps} steps of {sample.solver.kind}: {_calls(sample, denoiser)}"))
    plan.problems += list(_conflicts(plan, denoiser, tokenizer))


def _calls(sample: Sampling, denoiser: Denoiser) -> str:
    """Network calls a sample: what is known of them before any is made."""
    most = 0
    for spec in denoiser.specs:
        solver = sample.solver_of(spec.name)
        if not solver.calls:
            return f"as many network calls as '{solver.kind}' needs"
        try:
            times = sample.schedule_of(spec.name).times(sample.steps, denoiser.path(spec.name))
        except ValueError:  # it is among the problems
            return "no network calls"
        most = max(most, int((times.diff() < 0).sum()) * solver.calls)
    most *= sample.best_of.count if sample.best_of else 1
    if isinstance(sample.guidance, Unguided | ClassifierFree):
        return f"at most {most * (2 if sample.guidance.needs_null() else 1)} network calls each"
    return f"at most {most} network calls each, and what guidance '{sample.guidance.kind}' asks besides"


def _conflicts(plan: Plan, denoiser: Denoiser, tokenizer: Tokenizer) -> Iterator[str]:
    recipe = plan.recipe
    paths = {spec.name: denoiser.path(spec.name) for spec in denoiser.specs}
    yield from recipe.sample.refusals(denoiser.specs, paths, denoiser.backbone.sites, recipe.denoiser.kind, bool(recipe.conditions))
    yield from recipe.objective.refusals(denoiser.specs)
    yield from recipe.sample.guidance.unknown(recipe.conditions)
    for metric in recipe.evaluate:
        yield from metric.refusals(recipe.modality, tokenizer)
        if recipe.sample.count < metric.min_n:
            yield f"metric '{metric.kind}' needs at least {metric.min_n} samples: sample.count is {recipe.sample.count}"
    yield from recipe.sample.unmeasured()
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
    dropped = [name for name, config in recipe.conditions.items() if config.dropout == 0]
    if dropped and recipe.sample.guidance.needs_null():
        kind = recipe.sample.guidance.kind
        yield f"guidance '{kind}' needs a null that training has seen: give the conditions {dropped} a dropout above 0"


def weights_of(recipe: Recipe) -> list[str]:
    """The weights that a checkpoint of its run holds, by name: as trained, and averages, the longest last."""
    return ["trained", *(average_name(decay) for decay in sorted(recipe.train.ema))]


def no_denoiser(recipe: Recipe, guidance: str, name: str) -> str:
    """What to say of a denoiser that guidance names, and that its run cannot have."""
    return (
        f"guidance '{guidance}' asks the denoiser '{name}': expected weights of this run "
        f"({', '.join(weights_of(recipe))}), WEIGHTS@STEP of a checkpoint that it keeps, or the folder of another run"
    )


def _memory(parameters: int, recipe: Recipe, tokens: int) -> float:
    """Bytes: weights, gradients, two Adam moments, the averages; and about 34 numbers a token, width and block.

    Source of the 34: Korthikanti et al. 2022, 2205.05198.
    """
    held = parameters * 4 * (4 + len(recipe.train.ema))
    depth = getattr(recipe.denoiser, "depth", 12)
    seen = recipe.train.batch / recipe.train.accumulate * tokens * recipe.denoiser.model_width * depth * 34 * 4 / 2
    return held + seen
