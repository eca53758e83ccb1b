"""No guidance."""

from collections.abc import Mapping
from typing import Any, ClassVar

from anylatent.guidance.base import Guidance


class Unguided(Guidance, kind="none"):
    """The conditional prediction as it is."""

    neutral: ClassVar[Mapping[str, Any] | None] = {}
