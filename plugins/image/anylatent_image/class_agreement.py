"""Whether images are what they were asked to be."""

from typing import ClassVar

from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.intervals import wilson
from anylatent_image.classifier import Classifier


class ClassAgreement(Metric, kind="image.class-agreement"):
    """The share of samples that a classifier takes for the class they were asked to be.

    The interval is Wilson's (1927); the floor is the classifier's accuracy on held-out real images.
    """

    min_n: ClassVar[int] = 10

    features: Classifier = Classifier.model_validate({})

    def compute(self, evidence: Evidence) -> list[Measure]:
        """One measure. Errors: `TooFewSamples`; `ValueError` if no sample was asked to be of a class."""
        condition = self.features.condition
        asked = [
            (sample, wanted[condition]) for sample, wanted in zip(evidence.samples, evidence.asked) if wanted.get(condition) is not None
        ]
        if not asked:
            raise ValueError(f"{self.kind} judges samples by the condition '{condition}', which none of them was asked for: sample with it")
        self.require(len(asked))
        classifier = self.features.trained(evidence)
        predicted = classifier.classes([sample for sample, _ in asked])
        agreed = sum(guess == wanted for guess, (_, wanted) in zip(predicted, asked))
        low, high = wilson(agreed, len(asked))
        return [
            Measure(
                name="class agreement",
                value=agreed / len(asked),
                low=low,
                high=high,
                n=len(asked),
                better="higher",
                floor=classifier.accuracy,
                fingerprint=self.features.fingerprint(evidence),
                note=classifier.note,
            )
        ]
