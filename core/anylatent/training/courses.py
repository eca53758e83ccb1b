"""The two things that are trained: a tokenizer on samples, a denoiser on tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from anylatent import random
from anylatent.conditioners.base import Conditioner
from anylatent.data import Dataset
from anylatent.denoiser import Denoiser
from anylatent.objective import Objective
from anylatent.tokenizers.base import Tokenizer
from anylatent.training.latents import Latents
from anylatent.training.method import Lesson, Method
from anylatent.training.trainer import Course
from anylatent.types import Float, Int, Tensor


class TokenizerCourse(Course):
    """Minimises the tokenizer's own loss on the samples of a data set."""

    def __init__(self, tokenizer: Tokenizer, dataset: Dataset) -> None:
        super().__init__()
        self.name, self.count = "tokenizer", len(dataset)
        self.tokenizer, self._dataset = tokenizer, dataset

    def forward(
        self, indices: Int[Tensor, " rows"], seeds: Int[Tensor, " rows"], step: int
    ) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        # The step is mixed into the seeds: a tokenizer's loss is a function of samples and seeds alone.
        mixed = (seeds + (step * 0x2545F4914F6CDD1 & 0x7FFFFFFFFFFFFFFF)) & 0x7FFFFFFFFFFFFFFF
        return self.tokenizer.loss([self._dataset[i].sample for i in indices.tolist()], mixed)


class DenoiserCourse(Course):
    """Minimises a method's loss on encoded samples and their conditions, some of which are dropped."""

    def __init__(
        self, denoiser: Denoiser, latents: Latents, conditions: Sequence[Mapping[str, Any]], method: Method, objective: Objective
    ) -> None:
        super().__init__()
        self.name, self.count, self.width = "denoiser", len(latents), denoiser.backbone.width
        roles = method.roles(denoiser)
        for role, module in roles.items():
            module.requires_grad_(role in method.trained)
        self.roles = nn.ModuleDict(roles)
        self._latents, self._conditions, self._method, self._objective = latents, conditions, method, objective
        named: Mapping[str, Conditioner] = denoiser.conditions.named  # pyright: ignore[reportAssignmentType]
        self._dropout = {name: conditioner.config.dropout for name, conditioner in named.items()}

    def forward(
        self, indices: Int[Tensor, " rows"], seeds: Int[Tensor, " rows"], step: int
    ) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        clean = self._latents.batch(indices, seeds).to(seeds.device)
        asked = [dict(self._conditions[i]) for i in indices.tolist()]
        for name, chance in self._dropout.items():
            dropped = random.uniform(seeds, f"dropout/{name}", step, 0, 1)[:, 0] < chance
            for i in dropped.nonzero()[:, 0].tolist():
                asked[i].pop(name, None)
        return self._method.loss(self.roles, self._objective, Lesson(clean, asked, step))  # pyright: ignore[reportArgumentType]
