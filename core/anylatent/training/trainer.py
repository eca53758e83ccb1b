"""The training loop: a generator that yields what happened. It knows losses and weights; it knows no modality."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from anylatent.training import checkpoint
from anylatent.training.averages import Averages
from anylatent.training.config import Training
from anylatent.training.events import Event, Note, Saved, Stage, Step
from anylatent.training.order import Order
from anylatent.types import Float, Int, Tensor


class Diverged(RuntimeError):
    """The loss is not a number any more."""


class Course(nn.Module, ABC):
    """What is trained, on what: a module of the trained weights whose `forward` is a loss a row."""

    name: str
    count: int
    """Samples to train on."""

    @abstractmethod
    def forward(self, indices: Int[Tensor, " rows"], seeds: Int[Tensor, " rows"], step: int) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        """The loss of these samples at this step, and numbers to log. All its randomness is from `seeds` and `step`."""


def train(course: Course, training: Training, folder: Path, accelerator: Accelerator, seed: int, log: "Log") -> Iterator[Event]:
    """Train for `training.steps`, from the newest checkpoint in `folder`, and leave one at the end.

    Yields `Stage`, then a `Step` a step, `Saved` a checkpoint. Closing the generator (an interrupt) loses at most the
    steps since the last checkpoint. Errors: `Diverged` when the loss is not finite (the last checkpoint is kept);
    `DamagedFile` for a checkpoint that cannot be read; `OSError` for one that cannot be written.
    """
    course.to(accelerator.device).train()
    averages = Averages(course, training.ema)
    optimizer = make_optimizer(course, training)
    done = checkpoint.restore(folder, course, averages, optimizer)
    wrapped, optimizer = accelerator.prepare(course, optimizer)
    order = Order(course.count, seed)
    log.forget_after(course.name, done)
    yield Stage(course.name, training.steps, done)
    if 0 < done < training.steps:
        yield Note(f"resumed {course.name} at step {done} of {training.steps}")
    started, begun = time.perf_counter(), done
    for step in range(done, training.steps):
        rate = learning_rate(training, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, numbers = _step(wrapped, order, training, optimizer, accelerator, step)
        averages.update(course, step)
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss of {course.name} is {loss} at step {step + 1}: training stopped; the last checkpoint "
                f"({_last(folder)}) is kept. Lower train.learning_rate or train.clip, then train again"
            )
        last = step + 1 == training.steps
        if accelerator.is_main_process and ((step + 1) % training.log == 0 or last):
            seconds = time.perf_counter() - started
            log.write(course.name, step + 1, loss, learning_rate=rate, steps_per_s=(step + 1 - begun) / seconds, **numbers)
        yield Step(course.name, step + 1, training.steps, loss, numbers)
        if (step + 1) % training.checkpoint == 0 or last:
            if accelerator.is_main_process:
                yield Saved("checkpoint", checkpoint.save(folder, step + 1, course, averages, optimizer_of(optimizer)))
            accelerator.wait_for_everyone()


def _step(
    wrapped: nn.Module, order: Order, training: Training, optimizer: torch.optim.Optimizer, accelerator: Accelerator, step: int
) -> tuple[float, dict[str, float]]:
    """One optimizer step over this process's share of the batch, in `accumulate` parts."""
    indices = order.take(step * training.batch, training.batch)[accelerator.process_index :: accelerator.num_processes]
    parts = indices.chunk(training.accumulate)
    total, numbers = torch.zeros((), device=accelerator.device), {}
    for number, part in enumerate(parts):
        share = len(part) / len(indices)
        hold = accelerator.no_sync(wrapped) if number + 1 < len(parts) else _nothing()
        with hold:
            with accelerator.autocast():
                losses, logged = wrapped(part, order.seeds(part).to(accelerator.device), step)
            loss = losses.float().mean() * share
            accelerator.backward(loss)
        total += loss.detach()
        for name, value in logged.items():
            numbers[name] = numbers.get(name, 0.0) + float(value.detach()) * share
    norm = accelerator.clip_grad_norm_(wrapped.parameters(), training.clip)
    optimizer.step()
    optimizer.zero_grad()
    return float(accelerator.reduce(total, "mean")), numbers | {"gradient_norm": float(norm) if norm is not None else 0.0}


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *problem: object) -> None: ...


def make_optimizer(course: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2017, 1711.05101), fused; weight decay for matrices only."""
    trained = [p for p in course.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=training.learning_rate, betas=training.betas, fused=True)


def optimizer_of(prepared: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer inside of accelerate's."""
    return getattr(prepared, "optimizer", prepared)


def learning_rate(training: Training, step: int) -> float:
    """At a step (from 0): linear warm-up, then constant or half a cosine to 0."""
    warm = min(1.0, (step + 1) / max(training.warmup, 1))
    if training.decay == "constant":
        return training.learning_rate * warm
    return training.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / max(training.steps, 1)))


def make_accelerator(training: Training, width: int) -> Accelerator:
    """Accelerate's view of this process (one, or one of many by its launcher), with bfloat16 where it pays."""
    asked = training.precision
    mixed = "bf16" if asked == "bfloat16" or (asked == "auto" and _bfloat16_pays(width)) else "no"
    return Accelerator(mixed_precision=mixed, step_scheduler_with_optimizer=False)


def _bfloat16_pays(width: int) -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return fast and width >= 256  # on narrower networks the casts cost what the products gain


def _last(folder: Path) -> str:
    found = checkpoint.checkpoints(folder)
    return str(found[-1]) if found else "none yet"


class Log:
    """The lines of `metrics.jsonl`: stage, step, loss and other numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, stage: str, step: int, loss: float, **numbers: float) -> None:
        import json

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a") as stream:
            stream.write(json.dumps({"stage": stage, "step": step, "loss": loss, **{k: round(v, 6) for k, v in numbers.items()}}) + "\n")

    def lines(self) -> list[dict]:
        """The lines that are whole; one that a crash cut short is left out."""
        import json

        out = []
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                out.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return out

    def forget_after(self, stage: str, step: int) -> None:
        """Drop what a resumed training will write again."""
        import json

        from anylatent.files import write_text

        lines = self.lines()
        kept = [line for line in lines if not (line["stage"] == stage and line["step"] > step)]
        if len(kept) != len(lines):
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
