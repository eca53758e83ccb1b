"""Molecules as numbers that a chemist would ask for: the feature space of metrics that need no network."""

from collections.abc import Sequence
from typing import Any

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Features
from anylatent.types import Float, Tensor


class DescriptorFeatures(Features, kind="molecule.descriptors"):
    """RDKit's physicochemical descriptors, counts of elements and of functional groups: no network, nothing to fetch.

    Counts go in as log(1 + count), so that few and many differ less than none and one.
    """

    def compute(self, samples: Sequence[Any], evidence: Evidence) -> Float[Tensor, "samples features"]:
        """Errors: `ValueError` names a sample that is not valid."""
        from anylatent_molecule.metrics import descriptor_numbers

        for index, sample in enumerate(samples):
            if not sample.valid:
                raise ValueError(f"sample {index} is no molecule ('{sample.written[:60]}'): descriptors are of valid ones only")
        rows = [descriptor_numbers.numbers(sample.mol()) for sample in samples]
        return torch.tensor(rows, dtype=torch.float32)

    def fingerprint(self, evidence: Evidence) -> str:
        from importlib.metadata import version

        from anylatent_molecule.metrics import descriptor_numbers

        return f"descriptors {descriptor_numbers.VERSION} of rdkit {version('rdkit')}"
