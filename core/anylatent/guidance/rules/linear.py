"""The straight line through both predictions."""

from collections.abc import Mapping
from typing import Any, ClassVar

from anylatent.guidance.rules.base import Rule, Scale, Tokens
from anylatent.moment import Here


class LinearRule(Rule, kind="linear"):
    """The straight line through both predictions.

    weak + scale (asked - weak) (Ho & Salimans 2022, 2207.12598, eq. 6).
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {}

    def extend(self, asked: Tokens, weak: Tokens, scale: Scale, here: Here) -> Tokens:
        return weak + scale * (asked - weak)
