"""The training loop: a generator that yields what happened. It knows losses and weights; it knows no modality."""

import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from torch import nn

from anylatent.files import append_text, write_text
from anylatent.training import checkpoint
from anylatent.training.averages import Averages
from anylatent.training.config import Training
from anylatent.training.events import Event, Note, Saved, Stage, Step
from anylatent.training.order import Order
from anylatent.types import Float, Int, Tensor


class Diverged(RuntimeError):
    """The loss or its gradient is not finite any more."""


class Course(nn.Module, ABC):
    """What is trained, on what: a module of the trained weights whose `forward` is a loss a row."""

    name: str
    count: int
    """Samples to train on."""
    width: int = 0
    """Channels of its matrix products: whether bfloat16 pays depends on them."""

    @abstractmethod
    def forward(
        self, indices: Int[Tensor, " rows"], seeds: Int[Tensor, " rows"], step: int
    ) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        """The loss of these samples at this step, and numbers to log. All its randomness is from `seeds` and `step`."""


def train(course: Course, training: Training, folder: Path, accelerator: Accelerator, seed: int, log: "Log") -> Iterator[Event]:
    """Train for `training.steps`, from the newest checkpoint in `folder`, and leave one at the end.

    Yields `Stage`, then a `Step` a step, `Saved` a checkpoint. Closing the generator (an interrupt) loses at most the
    steps since the last checkpoint. Errors: `Diverged` when the loss or its gradient is not finite (the last checkpoint
    is kept); `DamagedFile` for a checkpoint that cannot be read; `OSError` for one that cannot be written.
    """
    if training.batch < accelerator.num_processes:
        raise ValueError(f"a batch of {training.batch} cannot be shared by {accelerator.num_processes} processes: raise train.batch")
    course.to(accelerator.device).train()
    averages = Averages(course, training.ema)
    optimizer = make_optimizer(course, training)
    done = checkpoint.restore(folder, course, averages, optimizer)
    wrapped, optimizer = accelerator.prepare(course, optimizer)
    cast = torch.autocast(accelerator.device.type, torch.bfloat16, enabled=uses_bfloat16(training, course.width))
    order = Order(course.count, seed)
    if accelerator.is_main_process:
        log.forget_after(course.name, done)
    yield Stage(course.name, training.steps, done)
    if 0 < done < training.steps:
        yield Note(f"resumed {course.name} at step {done} of {training.steps}")
    started, begun = time.perf_counter(), done
    for step in range(done, training.steps):
        rate = learning_rate(training, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, numbers = _gradients(wrapped, order, training, accelerator, cast, step)
        if not (math.isfinite(loss) and math.isfinite(numbers["gradient_norm"])):
            what = "loss" if not math.isfinite(loss) else "gradient"
            raise Diverged(
                f"the {what} of {course.name} is not finite at step {step + 1}: training stopped; the last checkpoint "
                f"({_last(folder)}) is kept. Lower train.learning_rate or train.clip, then train again"
            )
        optimizer.step()
        optimizer.zero_grad()
        averages.update(course, step)
        last = step + 1 == training.steps
        if accelerator.is_main_process and ((step + 1) % training.log == 0 or last):
            seconds = time.perf_counter() - started
            log.write(course.name, step + 1, loss, learning_rate=rate, steps_per_s=(step + 1 - begun) / seconds, **numbers)
        yield Step(course.name, step + 1, training.steps, loss, numbers)
        if (step + 1) % training.checkpoint == 0 or last:
            if accelerator.is_main_process:
                yield Saved("checkpoint", checkpoint.save(folder, step + 1, course, averages, optimizer_of(optimizer)))
            accelerator.wait_for_everyone()


def _gradients(
    wrapped: nn.Module, order: Order, training: Training, accelerator: Accelerator, cast: torch.autocast, step: int
) -> tuple[float, dict[str, float]]:
    """The gradients of one batch, of which this process computes its share in `accumulate` parts; its loss, and numbers to log.

    A row counts as much as any other, whatever process and part it is in: processes' gradients are averaged, so each
    weighs its rows by their number.
    """
    indices = order.take(step * training.batch, training.batch)[accelerator.process_index :: accelerator.num_processes]
    parts = indices.chunk(training.accumulate)
    total, numbers = torch.zeros((), device=accelerator.device), {}
    for number, part in enumerate(parts):
        with accelerator.no_sync(wrapped) if number + 1 < len(parts) else nullcontext():
            with cast:
                losses, logged = wrapped(part, order.seeds(part).to(accelerator.device), step)
            loss = losses.float().sum() * (accelerator.num_processes / training.batch)
            accelerator.backward(loss)
        total += loss.detach()
        for name, value in logged.items():
            numbers[name] = numbers.get(name, 0.0) + float(value.detach()) * len(part) / len(indices)
    norm = accelerator.clip_grad_norm_(wrapped.parameters(), training.clip)
    whole: Tensor = accelerator.reduce(total, "mean")  # pyright: ignore[reportAssignmentType]
    return float(whole), numbers | {"gradient_norm": float(norm) if norm is not None else 0.0}


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


def make_accelerator() -> Accelerator:
    """Accelerate's view of this process: one, or one of many by its launcher. The precision is `uses_bfloat16`'s business."""
    return Accelerator(cpu=_many_on_cpu(), mixed_precision="no", step_scheduler_with_optimizer=False)


def _many_on_cpu() -> bool:
    """Without being told so, Accelerate takes torchrun's processes on a CPU for so many single ones, from its first question on."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available()


def is_main_process() -> bool:
    """Whether this process is the one that locks the folder, samples, judges and writes, where many train together."""
    return PartialState(cpu=_many_on_cpu()).is_main_process


def uses_bfloat16(training: Training, width: int) -> bool:
    """Whether matrix products of this many channels are autocast to bfloat16 here."""
    return training.precision == "bfloat16" or (training.precision == "auto" and _bfloat16_pays(width))


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
        line = {"stage": stage, "step": step, "loss": loss, **{name: round(value, 6) for name, value in numbers.items()}}
        append_text(self.path, json.dumps(line) + "\n")

    def lines(self) -> list[dict]:
        """The lines that are whole; one that a crash cut short is left out."""
        return [line for _, line in self._whole()]

    def forget_after(self, stage: str, step: int) -> None:
        """Drop what a resumed training will write again, and what a crash cut short."""
        kept = "".join(f"{text}\n" for text, line in self._whole() if line["stage"] != stage or line["step"] <= step)
        if self.path.exists() and self.path.read_bytes() != kept.encode():
            write_text(self.path, kept)

    def _whole(self) -> Iterator[tuple[str, dict]]:
        for text in self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.exists() else ():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict) and {"stage", "step", "loss"} <= line.keys():
                yield text, line
