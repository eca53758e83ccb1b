"""The recipe nodes of core's conditioners."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from anylatent.conditioners.config import ConditionerConfig, Slot

if TYPE_CHECKING:
    from anylatent.conditioners.base import Conditioner


class ClassConfig(ConditionerConfig, kind="class"):
    """One of the classes that the training set has: whole numbers or names."""

    def build(self, width: int, values: Sequence[Any]) -> "Conditioner":
        from anylatent.conditioners.networks import ClassConditioner

        return ClassConditioner(self, width, values)

    def parse(self, text: str) -> Any:
        return int(text) if text.lstrip("-").isdigit() else text


class NumberConfig(ConditionerConfig, kind="number"):
    """A real number (or `count` of them), scaled by the training set's mean and standard deviation."""

    count: int = Field(default=1, ge=1, description="How many numbers a value has.")

    def build(self, width: int, values: Sequence[Any]) -> "Conditioner":
        from anylatent.conditioners.networks import NumberConditioner

        return NumberConditioner(self, width, values)

    def parse(self, text: str) -> Any:
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != self.count:
            raise ValueError(f"expected {'a number' if self.count == 1 else f'{self.count} numbers, separated by commas'}, given '{text}'")
        return numbers[0] if self.count == 1 else numbers


class SequenceConfig(ConditionerConfig, kind="sequence"):
    """A sequence of symbols (a text's bytes by default), as tokens to attend to or to put before."""

    slot: Slot = "cross"
    length: int = Field(default=64, ge=1, description="Symbols that are read; the rest is cut off.")
    depth: int = Field(default=1, ge=0, description="Transformer blocks over the symbols.")
    heads: int = Field(default=4, ge=1)

    def build(self, width: int, values: Sequence[Any]) -> "Conditioner":
        from anylatent.conditioners.networks import SequenceConditioner

        return SequenceConditioner(self, width, values)

    def parse(self, text: str) -> Any:
        return text
