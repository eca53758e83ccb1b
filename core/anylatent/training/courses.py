"""What is trained: a tokenizer on samples, a denoiser on tokens, classifiers on noised tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from anylatent import random
from anylatent.conditioners.base import Conditioner
from anylatent.data import Dataset
from anylatent.denoiser import Denoiser
from anylatent.objective import Independent, LogSNRTimes, Objective, StreamObjective, UniformTimes
from anylatent.paths.base import GaussianPath
from anylatent.perception.token_classifier import NOT_ASKED, TokenClassifier
from anylatent.spec import StreamSpec
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


class ClassifierCourse(Course):
    """Minimises -log p(class | noised tokens): of samples whose class is known, noised as the denoiser's are, at all times.

    `classes` `(samples,)`: the class of each, `NOT_ASKED` where it is not known.
    """

    def __init__(
        self, name: str, classifier: TokenClassifier, latents: Latents, classes: Int[Tensor, " samples"], objective: Objective
    ) -> None:
        super().__init__()
        self._known = (classes != NOT_ASKED).nonzero()[:, 0]
        self.name, self.count, self.width = f"classifier {name}", len(self._known), classifier.backbone.width
        self.classifier = classifier
        self._latents, self._classes, self._objective = latents, classes, at_all_times(objective, classifier.specs)

    def forward(
        self, indices: Int[Tensor, " rows"], seeds: Int[Tensor, " rows"], step: int
    ) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        chosen = self._known[indices]
        clean = self._latents.batch(chosen, seeds).to(seeds.device)
        noised, _ = self._objective.corrupt(clean, self.classifier, step)
        told, wanted = self.classifier(noised), self._classes[chosen].to(seeds.device)
        loss = -told.gather(1, wanted[:, None])[:, 0]
        return loss, {"accuracy": (told.argmax(1) == wanted).float().mean()}


def at_all_times(objective: Objective, specs: Sequence[StreamSpec]) -> Objective:
    """The corruption of an objective, at times that leave none out, with noise that knows nothing of the data.

    A denoiser learns most where its loss is worth most; a classifier is asked at every time. On Gaussian paths the angle
    arctan(sigma / alpha) is uniform, the same share of noise levels on every path; on others the time is.
    """
    streams = {}
    for spec in specs:
        path, prediction = objective.of(spec.name)
        times = LogSNRTimes(shape="sech", scale=1.0) if isinstance(path, GaussianPath) else UniformTimes()
        streams[spec.name] = StreamObjective(path=path, prediction=prediction, times=times)
    return objective.model_copy(update={"streams": streams, "coupling": Independent()})
