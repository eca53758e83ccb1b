"""Training methods: which roles there are, which of them learn, and the loss that a step minimises."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from anylatent.node import Node
from anylatent.objective import Objective
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from torch import nn

    from anylatent.denoiser import Denoiser
    from anylatent.state import State


@dataclass(frozen=True)
class Lesson:
    """What one step of training is about: clean tokens, what each row was asked to be, the step."""

    clean: "State"
    asked: list[dict[str, Any]]
    step: int


class Method(Node, family="method"):
    """A way to train a denoiser. Roles that are not in `trained` stay frozen."""

    trained: ClassVar[frozenset[str]] = frozenset({"student"})

    def roles(self, denoiser: "Denoiser") -> "dict[str, nn.Module]":
        """The networks that take part, by role: student, teacher, ema, critic. The student is what a run samples with."""
        return {"student": denoiser}

    def loss(
        self, roles: "Mapping[str, nn.Module]", objective: Objective, lesson: Lesson
    ) -> tuple[Float[Tensor, " rows"], dict[str, Tensor]]:
        """The loss of each row, and numbers to log."""
        raise NotImplementedError


class Denoise(Method, kind="denoise"):
    """The student learns to denoise: the recipe's objective, as it is."""

    def loss(
        self, roles: "Mapping[str, nn.Module]", objective: Objective, lesson: Lesson
    ) -> tuple[Float[Tensor, " rows"], dict[str, Tensor]]:
        student: Denoiser = roles["student"]  # pyright: ignore[reportAssignmentType]
        condition = student.conditions(lesson.asked, lesson.clean.device)
        return objective.loss(student, lesson.clean, condition, lesson.step), {}
