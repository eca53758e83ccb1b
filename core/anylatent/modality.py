"""What a plugin provides for its modality: how samples are read, shown and told apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from anylatent.data import DatasetConfig
from anylatent.node import Node
from anylatent.spec import Axes, AxisSpec


class Modality(Node, family="modality"):
    """A modality and its data set. The engine never sees one: it sees the stream specs of its tokenizer."""

    axes: ClassVar[tuple[AxisSpec, ...]] = ()
    """The axes of a sample that is a dense array `(*axes, channels)`; () if it is not."""
    sample: ClassVar[str] = ""
    """What a sample is: type, shape, range and units, in one line."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """The file endings that `read` takes."""

    data: DatasetConfig

    def sample_axes(self) -> Axes:
        """The axes that its tokenizer is built with."""
        return self.axes

    def sheet(self, samples: Sequence[Any], captions: Sequence[str] = ()) -> bytes:
        """A PNG picture of the samples, for people; captions may be empty."""
        raise NotImplementedError

    def write(self, samples: Sequence[Any], folder: Path) -> list[Path]:
        """Write samples as files that people open with their own programs; the files written, each whole."""
        raise NotImplementedError

    def read(self, path: Path) -> Any:
        """A sample from a user's file. Errors: `ValueError` naming the file and what was expected."""
        raise NotImplementedError

    def events(self, sample: Any) -> list[float]:
        """When something happens in a sample that lasts, in seconds from its beginning, in order.

        Two parts of a joint sample that mean the same events can be compared by it. Errors: `ValueError` if the modality
        knows of none.
        """
        raise ValueError(f"the modality '{self.kind}' does not know when something happens in a sample")

    def identity(self, sample: Any) -> str:
        """A text that is equal for samples that are the same thing (to count distinct and novel ones)."""
        raise NotImplementedError
