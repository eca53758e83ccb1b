"""The sample itself as its feature vector."""

from collections.abc import Sequence
from typing import Any

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Features
from anylatent.types import Float, Tensor


class Flat(Features, kind="flat"):
    """The numbers of a dense sample, in a row: no network, and no idea of what matters. All samples have one shape."""

    def compute(self, samples: Sequence[Any], evidence: Evidence) -> Float[Tensor, "samples features"]:
        """Errors: `ValueError` names the first sample that is no array of the first one's shape."""
        rows: list[Tensor] = []
        for index, sample in enumerate(samples):
            try:
                rows.append(torch.as_tensor(sample, dtype=torch.float32).flatten())
            except (TypeError, ValueError, RuntimeError) as error:
                raise ValueError(f"features 'flat' need arrays of numbers; sample {index} is a {type(sample).__name__}: {error}") from error
            if rows[index].shape != rows[0].shape:
                raise ValueError(
                    f"features 'flat' need samples of one shape; sample {index} has {len(rows[index])} numbers, the first {len(rows[0])}: "
                    "choose features that do not depend on the size"
                )
        return torch.stack(rows)

    def fingerprint(self, evidence: Evidence) -> str:
        return "flat"
