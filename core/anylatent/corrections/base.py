"""The contract of a correction."""

from collections.abc import Sequence
from typing import ClassVar

from anylatent.moment import Here
from anylatent.node import Node
from anylatent.paths.base import Path
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor


class Correction(Node, family="correction"):
    """Changes a stream's predicted clean tokens before a solver uses them. Rows must not touch each other."""

    gradient: ClassVar[bool] = False
    """Whether it differentiates by the noisy tokens: `here.x` then requires a gradient, and the prediction hangs on it."""
    measures: ClassVar[tuple[str, ...]] = ()
    """What a request must give with its rows for it (`here.measured`), in one stream at least."""

    def supports(self, path: Path) -> str | None:
        """Why it cannot correct a stream on this path, or None."""
        return None

    def refuses(self, specs: Sequence[StreamSpec]) -> str | None:
        """Why it cannot correct these streams, or None: it names one that is not there."""
        return None

    def classifiers(self) -> tuple[str, ...]:
        """The conditions whose classifiers it asks (`here.slope`)."""
        return ()

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> dict[str, Tensor]:
        """What it remembers of a stream before a row's first question."""
        return {}

    def correct(self, data: Float[Tensor, "rows tokens width"], here: Here) -> Tensor:
        """The corrected prediction of the clean tokens, made from the tokens `here.x` at time `here.t`."""
        raise NotImplementedError


def no_such_stream(who: str, stream: str, specs: Sequence[StreamSpec]) -> str | None:
    """What to say of a method that names a stream (empty: none) which is not made, or None."""
    made = [spec.name for spec in specs if not spec.given]
    return None if stream in ("", *made) else f"{who} names the stream '{stream}': the streams that are made are {made}"
