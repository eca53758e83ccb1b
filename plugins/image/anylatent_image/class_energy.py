"""What is wanted of images, as a number that is to be low."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import Field

from anylatent.data import DatasetConfig
from anylatent.energies import SampleEnergy
from anylatent.files import cache_folder
from anylatent.lazy import torch
from anylatent.types import Float, Tensor
from anylatent_image.classifier import Classifier

if TYPE_CHECKING:
    from anylatent_image.classifier_network import Trained


class ClassEnergy(SampleEnergy, kind="image.class"):
    """Minus the log-probability of a class, by a small classifier that is trained on labelled images (`image.classifier`).

    It is trained once and kept, as the metrics' is: with the run's own data and the same options it is the very same network, and
    then class agreement is no judge of what was chosen by it. To be judged by the metrics, choose by another (`classifier.steps`).
    """

    label: int | str = Field(description="The class that is wanted, as the data name it.")
    data: DatasetConfig = Field(description="Labelled images of the form of the samples: of the run, or others.")
    classifier: Classifier = Field(default=Classifier.model_validate({}), description="How it is trained, and on what condition.")

    @cached_property
    def trained(self) -> "Trained":
        """The network: from the cache folder, or trained now and put there."""
        from anylatent_image.classifier_network import load_or_train

        return load_or_train(self.classifier, self.data.build("train"), self.data.build("test"), cache_folder() / "metrics")

    def unjudged(self, sample: Any) -> str | None:
        data = self.data.build("train")
        shape = tuple(data[0].sample.shape)
        if not isinstance(sample, torch.Tensor) or tuple(sample.shape) != shape:
            given = f"of the shape {tuple(sample.shape)}" if isinstance(sample, torch.Tensor) else f"of the type {type(sample).__name__}"
            return f"energy '{self.kind}' judges images of the shape {shape}, as those of its `data` are: these samples are {given}"
        known = {data.conditions(index).get(self.classifier.condition) for index in range(len(data))} - {None}
        if self.label in known:
            return None
        return f"energy '{self.kind}' has no class {self.label!r}: the {self.classifier.condition}s of its `data` are {_listed(known)}"

    def of_samples(self, samples: list[Any]) -> Float[Tensor, " samples"]:
        return -self.trained.log_probabilities(samples)[:, self.trained.labels.index(self.label)]


def _listed(labels: set[Any]) -> str:
    shown = sorted(map(repr, labels))
    return (", ".join(shown[:20]) + (" …" if len(shown) > 20 else "")) or "none"
