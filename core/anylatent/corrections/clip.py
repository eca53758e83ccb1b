"""Clipping of the predicted data."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.corrections.base import Correction
from anylatent.moment import Here
from anylatent.types import Float, Tensor


class Clip(Correction, kind="clip"):
    """Keeps the predicted clean tokens within `[-limit, limit]` ("clip denoised": Ho et al. 2020, 2006.11239, sec. 3.2)."""

    example: ClassVar[Mapping[str, Any]] = {"limit": 0.5}
    neutral: ClassVar[Mapping[str, Any] | None] = {"limit": math.inf}

    limit: float = Field(default=4.0, gt=0, description="In standard deviations of the data; inf: none.")

    def correct(self, data: Float[Tensor, "rows tokens width"], here: Here) -> Tensor:
        return data.clamp(-self.limit, self.limit)
