import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from small_runs import steps_and_losses, trained
from torch import nn
from toys import Toy, Waves

from anylatent.build import build_denoiser, build_tokenizer, condition_values
from anylatent.conditioners.standard import ClassConfig, NumberConfig, SequenceConfig
from anylatent.denoiser import Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.files import read_tensors
from anylatent.objective import Objective
from anylatent.recipe.model import Recipe
from anylatent.tokenizers.autoencoder import AutoencoderConfig
from anylatent.tokenizers.grid import GridConfig
from anylatent.training.config import Training
from anylatent.training.courses import DenoiserCourse, TokenizerCourse
from anylatent.training.latents import Latents, encode
from anylatent.training.method import Denoise, Lesson, Method
from anylatent.training.order import Order

# -------------------------------------------------------------------------------------------------------------- denoiser


CONDITIONS = {"label": ClassConfig(dropout=0.3), "pitch": NumberConfig(slot="prepend"), "word": SequenceConfig(heads=2)}


def denoiser_course(tmp_path: Path, ragged: bool = True, method: Method | None = None, **objective: Any) -> DenoiserCourse:
    data = Waves(count=24, ragged=ragged)
    recipe = Recipe(
        modality=Toy(data=data), tokenizer=GridConfig(patch=(2,)), conditions=CONDITIONS, denoiser=DiTConfig(depth=1, width=16, heads=2),
        objective=Objective(**objective),
    )  # fmt: skip
    dataset = data.build("train")
    tokenizer = build_tokenizer(recipe, dataset[0].sample)
    tokenizer.fit([dataset[i].sample for i in range(len(dataset))])
    *_, latents = encode(dataset, tokenizer, tmp_path)
    assert isinstance(latents, Latents)
    asked = condition_values(recipe, dataset)
    denoiser = build_denoiser(recipe, tokenizer.specs, {name: [row[name] for row in asked] for name in CONDITIONS})
    with torch.no_grad():  # a readout of zeros would predict 0 for everything
        for p in denoiser.parameters():
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    return DenoiserCourse(denoiser, latents, asked, method or Denoise(), recipe.objective)


@pytest.mark.parametrize("objective", [{}, {"completion": 0.7}, {"prediction": "data"}], ids=str)
def test_a_rows_loss_is_its_own(objective: dict[str, Any], tmp_path: Path) -> None:
    """Alone and beside longer rows, with its own noise, time, dropped conditions and kept tokens."""
    course = denoiser_course(tmp_path, **objective)
    indices = torch.arange(10)
    seeds = Order(24, 5).seeds(indices)
    with torch.no_grad():
        together, _ = course(indices, seeds, 3)
        alone = torch.cat([course(indices[i : i + 1], seeds[i : i + 1], 3)[0] for i in range(10)])
        later, _ = course(indices, seeds, 4)
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-4)
    assert not torch.isclose(later, together).any(), "each step draws anew"


def test_conditions_are_dropped_as_often_as_the_recipe_says(tmp_path: Path) -> None:
    course = denoiser_course(tmp_path)
    asked: list[dict[str, Any]] = []

    class Watching(Denoise, kind="test-watching"):
        def loss(self, roles: Any, objective: Objective, lesson: Lesson) -> Any:
            asked.extend(lesson.asked)
            return torch.zeros(len(lesson.asked)), {}

    course._method = Watching()
    order = Order(24, 0)
    for step in range(40):
        indices = order.take(step * 24, 24)
        course(indices, order.seeds(indices), step)
    for name, config in CONDITIONS.items():
        share = sum(name not in row for row in asked) / len(asked)
        assert share == pytest.approx(config.dropout, abs=4 * (config.dropout * (1 - config.dropout) / len(asked)) ** 0.5)


def test_the_loss_falls(tmp_path: Path) -> None:
    course = denoiser_course(tmp_path, ragged=False)
    training = Training(steps=80, batch=12, warmup=5, learning_rate=5e-3, checkpoint=100, log=1, ema=())
    trained(course, training, tmp_path)
    values = [loss for _, loss in steps_and_losses(tmp_path)]
    assert sum(values[-15:]) < 0.75 * sum(values[:15])


class WithTeacher(Method, kind="test-with-teacher"):
    """The student follows a teacher, that takes part and must not learn."""

    trained: ClassVar[frozenset[str]] = frozenset({"student"})

    def roles(self, denoiser: Denoiser) -> dict[str, nn.Module]:
        return {"student": denoiser, "teacher": copy.deepcopy(denoiser)}

    def loss(self, roles: Mapping[str, nn.Module], objective: Objective, lesson: Lesson) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        total = torch.zeros(len(lesson.clean))
        for role in ("student", "teacher"):
            denoiser: Any = roles[role]
            total = total + objective.loss(denoiser, lesson.clean, denoiser.conditions(lesson.asked), lesson.step)
        return total, {}


def test_frozen_stays_frozen(tmp_path: Path) -> None:
    """Only the roles that a method names are trained: not a bit of another moves, nor of its averages."""
    course = denoiser_course(tmp_path, method=WithTeacher())
    before = copy.deepcopy(course.state_dict())
    assert all(p.requires_grad == name.startswith("roles.student.") for name, p in course.named_parameters())
    trained(course, Training(steps=3, batch=4, weight_decay=0.1, checkpoint=10, log=1, ema=(0.5,)), tmp_path)
    files = {
        name: read_tensors(tmp_path / "checkpoints" / "00000003" / f"{name}.safetensors") for name in ("trained", "ema-0.5", "optimizer")
    }
    moved = {name for name, tensor in course.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[1] for name in moved} == {"student"}
    assert not any(name.startswith("roles.teacher.") for name in files["optimizer"])
    for name in before:
        if name.startswith("roles.teacher.") and name in files["ema-0.5"]:
            assert torch.equal(files["ema-0.5"][name], before[name])


def test_bfloat16_computes_in_it_and_keeps_weights_in_float32(tmp_path: Path) -> None:
    """On the CPU here; close to float32, and not the same."""
    made = {}
    for precision in ("float32", "bfloat16"):
        course = denoiser_course(tmp_path, ragged=False)
        trained(course, Training(steps=5, batch=8, precision=precision, checkpoint=10, log=1, ema=(0.9,)), tmp_path / precision)
        assert {p.dtype for p in course.parameters()} == {torch.float32}
        made[precision] = [loss for _, loss in steps_and_losses(tmp_path / precision)]
    assert made["bfloat16"] == pytest.approx(made["float32"], rel=0.05)
    assert made["bfloat16"] != made["float32"]


# ------------------------------------------------------------------------------------------------------------- tokenizer


def test_a_tokenizer_is_trained_on_samples_with_noise_of_their_own(tmp_path: Path) -> None:
    data = Waves(count=24, ragged=True)
    dataset = data.build("train")
    config = AutoencoderConfig(inner=GridConfig(patch=(2,)), width=16, heads=2, depth=1)
    torch.manual_seed(0)
    tokenizer = config.build(dataset[0].sample, Toy.axes)
    tokenizer.prepare([dataset[i].sample for i in range(24)])
    course = TokenizerCourse(tokenizer, dataset)
    indices, seeds = torch.arange(8), Order(24, 0).seeds(torch.arange(8))
    with torch.no_grad():
        now, _ = course(indices, seeds, 0)
        again, _ = course(indices, seeds, 0)
        later, _ = course(indices, seeds, 1)
        course(indices, seeds, 10_000_000)  # a late step's number is large, and no overflow
    assert torch.equal(now, again)
    assert not torch.isclose(now, later).any(), "each step draws anew"
    trained(course, Training(steps=40, batch=12, learning_rate=5e-3, warmup=5, checkpoint=100, log=1, ema=()), tmp_path)
    values = [loss for _, loss in steps_and_losses(tmp_path)]
    assert sum(values[-5:]) < 0.7 * sum(values[:5])
