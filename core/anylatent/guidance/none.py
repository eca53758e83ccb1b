"""No guidance."""

from anylatent.guidance.base import Guidance


class Unguided(Guidance, kind="none"):
    """The conditional prediction as it is."""
