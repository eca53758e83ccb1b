"""Small runs on real data, for tests: a recipe of seconds, and what to compare of two runs."""

import json
from pathlib import Path
from typing import Any

from anylatent import Run, execute, load_recipe
from anylatent.training import checkpoint
from anylatent.training.config import Training
from anylatent.training.events import Step
from anylatent.training.trainer import Course, Log, make_accelerator, train


def digits(**changes: Any) -> dict[str, Any]:
    """Handwritten digits, with a denoiser that is too small to draw them. `train` and `sample` are merged with the recipe's own."""
    recipe = {
        "name": "small",
        "modality": {"kind": "image", "data": {"kind": "image.digits"}},
        "tokenizer": {"kind": "grid", "patch": [2, 2]},
        "conditions": {"label": {"kind": "class"}},
        "denoiser": {"kind": "dit", "depth": 1, "width": 16, "heads": 2},
        "train": {"steps": 20, "batch": 16, "warmup": 2, "checkpoint": 6, "preview": 2, "log": 1, "ema": [0.5, 0.9]},
        "sample": {"count": 10, "steps": 4, "batch": 4, "guidance": {"kind": "classifier-free", "scale": 2.0}},
        "evaluate": [{"kind": "distinct"}],
    }
    merged = {name: recipe[name] | changes.pop(name, {}) for name in ("train", "sample")}
    return recipe | merged | changes


def executed(recipe: dict[str, Any], folder: Path) -> Run:
    """Everything that a recipe says, done."""
    run = Run.create(load_recipe(recipe), folder)
    for _ in execute(run):
        pass
    return run


def losses(folder: Path) -> list[tuple[str, int, float]]:
    """What was logged, without the times."""
    lines = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    return [(line["stage"], line["step"], line["loss"]) for line in lines]


def outcome(folder: Path) -> dict[str, bytes]:
    """What two runs of one recipe have in common, bit for bit: weights, moments, tokenizer and samples."""
    newest = checkpoint.checkpoints(folder / "checkpoints")[-1]
    files = [*newest.glob("*.safetensors"), folder / "tokenizer" / "tokenizer.safetensors", *(folder / "samples").glob("*.png")]
    return {f"{newest.name}/{file.name}": file.read_bytes() for file in files if file.exists()}


def trained(course: Course, training: Training, folder: Path, stop: int | None = None, seed: int = 0) -> list[Any]:
    """Train, as far as step `stop`: the events."""
    events = []
    generator = train(course, training, folder / "checkpoints", make_accelerator(), seed, Log(folder / "metrics.jsonl"))
    for event in generator:
        events.append(event)
        if isinstance(event, Step) and event.done == stop:
            generator.close()
    return events


def steps_and_losses(folder: Path) -> list[tuple[int, float]]:
    """What one training logged."""
    return [(line["step"], line["loss"]) for line in Log(folder / "metrics.jsonl").lines()]
