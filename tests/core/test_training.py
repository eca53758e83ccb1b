import copy
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import steps_and_losses, trained
from torch import nn
from toys import toy_recipe

from anylatent import random
from anylatent.files import read_tensors
from anylatent.training import checkpoint
from anylatent.training.averages import Averages, average_name
from anylatent.training.config import Training
from anylatent.training.events import Note, Saved, Stage, Step
from anylatent.training.order import Order
from anylatent.training.trainer import (
    Course,
    Diverged,
    Log,
    _gradients,
    learning_rate,
    make_optimizer,
    train,
    uses_bfloat16,
)  # fmt: skip


class Line(Course):
    """A small linear problem: 3 numbers in, 1 out; its noise is from the seeds and the step."""

    def __init__(self, count: int = 20) -> None:
        super().__init__()
        self.name, self.count = "line", count
        generator = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn(count, 3, generator=generator), torch.randn(count, generator=generator)
        self.weight = nn.Parameter(torch.full((1, 3), 0.1))
        self.bias = nn.Parameter(torch.zeros(1))
        self.seen: list[list[int]] = []
        self.trouble: Callable[[torch.Tensor, int], torch.Tensor] = lambda losses, step: losses

    def forward(self, indices: torch.Tensor, seeds: torch.Tensor, step: int) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        self.seen.append(indices.tolist())
        noise = random.uniform(seeds, "line", step, 0, 1)[:, 0]
        losses = ((self.x[indices] @ self.weight.T)[:, 0] + self.bias - self.y[indices] - 0.1 * noise).square()
        return self.trouble(losses, step), {"noise": noise.mean()}


SHORT = Training(steps=12, batch=6, warmup=2, checkpoint=5, log=1, ema=(0.5, 0.9), learning_rate=0.05)


# --------------------------------------------------------------------------------------------------------------- order


@given(count=st.integers(1, 30), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), seed=st.integers(0, 2**40))
def test_the_order_is_the_same_however_it_is_taken(count: int, sizes: list[int], seed: int) -> None:
    """In batches of any sizes, from any place; every epoch sees each sample once."""
    order, position, parts = Order(count, seed), 0, []
    for size in sizes:
        parts.append(Order(count, seed).take(position, size))
        position += size
    whole = order.take(0, position)
    assert torch.equal(torch.cat(parts), whole)
    for epoch in whole.split(count)[: position // count]:
        assert sorted(epoch.tolist()) == list(range(count))


def test_epochs_and_trainings_are_shuffled_differently() -> None:
    order = Order(50, seed=0)
    first, second = order.take(0, 50), order.take(50, 50)
    assert not torch.equal(first, second)
    assert not torch.equal(first, Order(50, seed=1).take(0, 50))


def test_a_samples_seed_is_of_its_index_alone() -> None:
    order = Order(50, seed=3)
    seeds = order.seeds(torch.arange(50))
    assert len(set(seeds.tolist())) == 50
    assert (seeds >= 0).all()
    assert torch.equal(order.seeds(torch.tensor([7, 3])), seeds[[7, 3]])
    assert not torch.equal(Order(50, seed=4).seeds(torch.arange(50)), seeds)


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(ValueError, match="there is nothing to train on: the data set is empty"):
        Order(0, 0)


# ------------------------------------------------------------------------------------------------ averages, learning rate


def test_averages_are_what_the_formula_says() -> None:
    """a_n = d_n a_(n-1) + (1 - d_n) w_n with d_n = min(decay, (1 + n) / (10 + n)), as one sum over all weights so far."""
    module = nn.Linear(3, 2)
    averages, history = Averages(module, (0.3, 0.999)), [copy.deepcopy(module.state_dict())]
    for step in range(7):
        with torch.no_grad():
            for p in module.parameters():
                p += torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
        averages.update(module, step)
        history.append(copy.deepcopy(module.state_dict()))
    for decay in (0.3, 0.999):
        kept = [min(decay, (1 + n) / (10 + n)) for n in range(7)]
        shares = [math.prod(kept), *((1 - kept[n]) * math.prod(kept[n + 1 :]) for n in range(7))]
        assert sum(shares) == pytest.approx(1)
        for name, average in averages.tensors(average_name(decay)).items():
            torch.testing.assert_close(average, torch.stack([share * state[name] for share, state in zip(shares, history)]).sum(0))


@pytest.mark.parametrize("decay", [1.0, -0.1, 1.5])
def test_a_decay_that_forgets_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=f"decay must be from 0 to below 1, given {decay}"):
        Averages(nn.Linear(1, 1), (decay,))


def test_the_learning_rate_warms_up_and_comes_down() -> None:
    training = Training(steps=100, warmup=10, learning_rate=2.0)
    constant = [learning_rate(training, step) for step in range(100)]
    assert constant[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert set(constant[9:]) == {2.0}
    cosine = [learning_rate(training.model_copy(update={"decay": "cosine"}), step) for step in range(100)]
    assert cosine[50] == pytest.approx(1.0)
    assert 0 < cosine[99] < 0.001
    assert all(a > b for a, b in pairwise(cosine[10:]))
    assert learning_rate(Training(warmup=0, learning_rate=2.0), 0) == 2.0


def test_weights_decay_and_biases_do_not() -> None:
    course = Line()
    groups = make_optimizer(course, Training(weight_decay=0.1)).param_groups
    assert [(group["weight_decay"], [p.dim() for p in group["params"]]) for group in groups] == [(0.1, [2]), (0.0, [1])]


# ------------------------------------------------------------------------------------------------------------- the loop


def test_events_log_and_checkpoints_tell_what_happened(tmp_path: Path) -> None:
    events = trained(Line(), SHORT, tmp_path)
    assert events[0] == Stage("line", 12, 0)
    assert [event.done for event in events if isinstance(event, Step)] == list(range(1, 13))
    assert [event.path.name for event in events if isinstance(event, Saved)] == ["00000005", "00000010", "00000012"]
    assert [path.name for path in checkpoint.checkpoints(tmp_path / "checkpoints")] == ["00000010", "00000012"], "the last, and one before"
    lines = Log(tmp_path / "metrics.jsonl").lines()
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert {"stage", "step", "loss", "learning_rate", "gradient_norm", "steps_per_s", "noise"} <= set(lines[0])
    assert [line["loss"] for line in lines] == [event.loss for event in events if isinstance(event, Step)]
    assert [line["learning_rate"] for line in lines] == pytest.approx([learning_rate(SHORT, step) for step in range(12)])


def test_log_and_checkpoints_come_as_often_as_asked_and_at_the_end(tmp_path: Path) -> None:
    events = trained(Line(), SHORT.model_copy(update={"log": 5, "checkpoint": 100}), tmp_path)
    assert [step for step, _ in steps_and_losses(tmp_path)] == [5, 10, 12]
    assert [event.path.name for event in events if isinstance(event, Saved)] == ["00000012"]


@pytest.mark.parametrize("accumulate", [2, 4, 6])
def test_a_batch_in_parts_is_the_whole_batch(accumulate: int, tmp_path: Path) -> None:
    """Uneven parts too: 6 rows in 4 parts are 2, 2, 2."""
    whole, parts = Line(), Line()
    trained(whole, SHORT, tmp_path / "whole")
    trained(parts, SHORT.model_copy(update={"accumulate": accumulate, "batch": 6}), tmp_path / "parts")
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), atol=1e-5, rtol=1e-5)
    assert max(len(seen) for seen in parts.seen) == math.ceil(6 / accumulate)
    for (_, loss), (_, other) in zip(steps_and_losses(tmp_path / "whole"), steps_and_losses(tmp_path / "parts"), strict=True):
        assert loss == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("batch", [8, 7])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_processes_share_a_batch_so_that_each_row_counts_alike(batch: int, accumulate: int) -> None:
    """The mean over processes of their gradients is the gradient of the batch, even if they cannot share it evenly."""
    training, order = SHORT.model_copy(update={"batch": batch, "accumulate": accumulate, "clip": 1e9}), Order(20, 0)

    def gradients(index: int, processes: int) -> tuple[list[torch.Tensor], float]:
        course = Line()
        accelerator = SimpleNamespace(
            num_processes=processes, process_index=index, device=torch.device("cpu"), no_sync=lambda module: _nothing(),
            backward=lambda loss: loss.backward(), clip_grad_norm_=nn.utils.clip_grad_norm_, reduce=lambda x, how: x,
        )  # fmt: skip
        cast = torch.autocast("cpu", enabled=False)
        loss, _ = _gradients(course, order, training, accelerator, cast, step=3)  # pyright: ignore[reportArgumentType]
        return [p.grad for p in course.parameters() if p.grad is not None], loss

    whole, loss = gradients(0, 1)
    shares = [gradients(index, 3) for index in range(3)]
    for i, expected in enumerate(whole):
        torch.testing.assert_close(torch.stack([grads[i] for grads, _ in shares]).mean(0), expected, atol=1e-6, rtol=1e-5)
    assert sum(share for _, share in shares) / 3 == pytest.approx(loss, rel=1e-5)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def test_more_processes_than_samples_a_batch_are_refused(tmp_path: Path) -> None:
    accelerator = SimpleNamespace(num_processes=8)
    with pytest.raises(ValueError, match=r"a batch of 6 cannot be shared by 8 processes: raise train\.batch"):
        next(train(Line(), SHORT, tmp_path, accelerator, 0, Log(tmp_path / "log")))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "tokenizer",
    [
        {"kind": "grid", "patch": [2]},
        pytest.param({"kind": "autoencoder", "inner": {"kind": "grid", "patch": [2]}}, marks=pytest.mark.slow),
    ],
    ids=["grid", "autoencoder"],
)
def test_two_processes_train_what_one_does(tokenizer: dict[str, Any], tmp_path: Path) -> None:
    """Two gloo processes of torchrun, with a trained tokenizer too: the same losses, and the same weights in the end."""
    program = tmp_path / "program.py"
    if tokenizer["kind"] == "autoencoder":
        tokenizer = tokenizer | {"width": 16, "heads": 2, "depth": 1, "train": {"steps": 5, "batch": 7, "ema": [], "log": 1}}
    recipe = toy_recipe(tokenizer=tokenizer, train={"batch": 7, "accumulate": 2, "precision": "float32"}, evaluate=[])
    program.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "import torch; torch.set_num_threads(1)\n"
        "from toys import Toy, Waves\n"
        "from anylatent.components import core_components\nfrom anylatent.node import Components\n"
        "from anylatent import Run, execute\nfrom anylatent.recipe.model import Recipe\n"
        f"recipe = Recipe.model_validate({recipe!r}, context={{'components': Components([*core_components(), Toy, Waves])}})\n"
        "list(execute(Run.create(recipe, sys.argv[1])))\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ANYLATENT_CACHE": str(tmp_path / "cache")}
    for count in (1, 2):
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={count}",
            program,
            tmp_path / str(count),
        ]
        done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    for stage in ("tokenizer", "denoiser"):
        one, two = ([line["loss"] for line in Log(tmp_path / n / "metrics.jsonl").lines() if line["stage"] == stage] for n in ("1", "2"))
        assert one == pytest.approx(two, rel=1e-4)
        assert len(one) == (12 if stage == "denoiser" else 5 * (tokenizer["kind"] == "autoencoder"))
    weights = [read_tensors(tmp_path / n / "checkpoints" / "00000012" / "ema-0.9.safetensors") for n in ("1", "2")]
    torch.testing.assert_close(*weights, atol=1e-4, rtol=1e-3)
    assert len(list((tmp_path / "2" / "samples").glob("*.json"))) == 6 + 2, "six samples, made once; seeds and receipts"


# ------------------------------------------------------------------------------------------------------ interrupt, resume


@pytest.mark.parametrize("stop", [1, 4, 5, 6, 11])
def test_interrupted_and_resumed_is_uninterrupted(stop: int, tmp_path: Path) -> None:
    """Bit for bit: losses, weights, averages. The data are seen once, in the same order."""
    plain, other = Line(), Line()
    trained(plain, SHORT, tmp_path / "plain")
    trained(other, SHORT, tmp_path / "resumed", stop=stop)
    resumed = Line()
    events = trained(resumed, SHORT, tmp_path / "resumed")
    kept = (stop - 1) // 5 * 5  # a step is told before its checkpoint is written
    assert events[0] == Stage("line", 12, kept)
    assert (Note(f"resumed line at step {kept} of 12") in events) == (kept > 0)
    assert steps_and_losses(tmp_path / "resumed") == steps_and_losses(tmp_path / "plain")
    assert resumed.seen == plain.seen[kept:]
    for file in ("trained", "ema-0.5", "ema-0.9", "optimizer"):
        one, two = (read_tensors(tmp_path / name / "checkpoints" / "00000012" / f"{file}.safetensors") for name in ("plain", "resumed"))
        assert one.keys() == two.keys()
        for name, tensor in one.items():
            assert torch.equal(tensor, two[name]), f"{file}: {name}"


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    trained(Line(), SHORT, tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    again = Line()
    assert trained(again, SHORT, tmp_path) == [Stage("line", 12, 12)]
    assert again.seen == []
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert torch.equal(again.weight, read_tensors(tmp_path / "checkpoints" / "00000012" / "trained.safetensors")["weight"])


def test_a_line_that_a_crash_cut_short_is_written_again(tmp_path: Path) -> None:
    trained(Line(), SHORT, tmp_path / "plain")
    trained(Line(), SHORT, tmp_path / "cut", stop=7)
    log = tmp_path / "cut" / "metrics.jsonl"
    text = log.read_text()
    for cut in (3, len(text.splitlines()[-1]) - 1):
        log.write_text(text[: text.rindex("{")] + text.splitlines()[-1][:cut])
        trained(Line(), SHORT, tmp_path / "cut", stop=9)
        assert steps_and_losses(tmp_path / "cut") == steps_and_losses(tmp_path / "plain")[:9]
    log.write_text(log.read_text() + '{"stage": "li')
    trained(Line(), SHORT, tmp_path / "cut")
    assert steps_and_losses(tmp_path / "cut") == steps_and_losses(tmp_path / "plain")


def test_resuming_one_stage_keeps_the_lines_of_another(tmp_path: Path) -> None:
    log = Log(tmp_path / "metrics.jsonl")
    for stage, step in (("tokenizer", 5), ("tokenizer", 6), ("line", 5), ("line", 6)):
        log.write(stage, step, 1.0)
    log.forget_after("line", 5)
    assert [(line["stage"], line["step"]) for line in log.lines()] == [("tokenizer", 5), ("tokenizer", 6), ("line", 5)]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    trained(Line(), SHORT, tmp_path, stop=6)
    left = tmp_path / "checkpoints" / ".00000007.4711.part"
    left.mkdir()
    (left / "trained.safetensors").write_bytes(b"half")
    trained(Line(), SHORT, tmp_path)
    assert not left.exists()


# --------------------------------------------------------------------------------------------------------------- trouble


def _nan_at(step: int) -> Callable[[torch.Tensor, int], torch.Tensor]:
    return lambda losses, now: losses * math.nan if now == step else losses


def _infinite_gradient_at(step: int) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """A finite loss whose gradient is not: the slope of a square root at 0."""
    return lambda losses, now: losses + ((losses - losses.detach()).clamp(min=0)).sqrt() if now == step else losses


@pytest.mark.parametrize(("trouble", "what"), [(_nan_at, "loss"), (_infinite_gradient_at, "gradient")])
def test_a_training_that_diverges_stops_before_anything_is_spoiled(trouble, what: str, tmp_path: Path) -> None:
    course = Line()
    course.trouble = trouble(9)
    with pytest.raises(
        Diverged, match=rf"the {what} of line is not finite at step 10: training stopped; the last checkpoint \(.*00000005\) is kept"
    ):
        trained(course, SHORT, tmp_path)
    assert course.weight.isfinite().all(), "the step was not made"
    assert [path.name for path in checkpoint.checkpoints(tmp_path / "checkpoints")] == ["00000005"]
    trained(Line(), SHORT, tmp_path)
    trained(Line(), SHORT, tmp_path / "plain")
    assert steps_and_losses(tmp_path) == steps_and_losses(tmp_path / "plain"), "without the trouble, it goes on as if it had not been"


def test_diverging_at_once_says_that_there_is_nothing_yet(tmp_path: Path) -> None:
    course = Line()
    course.trouble = _nan_at(0)
    with pytest.raises(Diverged, match=r"\(none yet\)"):
        trained(course, SHORT, tmp_path)


# ------------------------------------------------------------------------------------------------------------- precision


def test_precisions_do_not_stick_to_the_process(tmp_path: Path) -> None:
    """A tokenizer in one precision and a denoiser in another are trained in one process, in any order."""
    for number, precision in enumerate(("bfloat16", "float32", "bfloat16")):
        trained(Line(), SHORT.model_copy(update={"precision": precision, "steps": 1}), tmp_path / str(number))
    one, two, three = ((steps_and_losses(tmp_path / str(number))) for number in range(3))
    assert one == three
    assert one != two


def test_bfloat16_is_chosen_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for fast in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert uses_bfloat16(Training(precision="auto"), 256) == fast
        assert not uses_bfloat16(Training(precision="auto"), 128), "narrow networks lose by it"
        assert uses_bfloat16(Training(precision="bfloat16"), 16)
        assert not uses_bfloat16(Training(precision="float32"), 1024)
