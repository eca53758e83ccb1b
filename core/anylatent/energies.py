"""Energies of samples: what is wanted of them, as a number that is to be low."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.measurements.base import Code, Layout, number_each
from anylatent.node import Node
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.state import State

Decode = Callable[["State"], list[Any]]
"""Clean tokens to samples, one a row: a tokenizer's `decode`."""


class Energy(Node, family="energy"):
    """A number a row that falls as samples come nearer to what is wanted. What is no number, or infinite, is never chosen."""

    differentiable: ClassVar[bool] = True
    """Whether `value` can be differentiated by the tokens."""

    def refuses(self, spec: StreamSpec) -> str | None:
        """Why it has no value of such a stream, or None."""
        return None

    def value(self, x: Float[Tensor, "rows tokens width"], layout: Layout) -> Float[Tensor, " rows"]:
        """The energy of clean tokens `x` of one stream; padding must not matter."""
        raise NotImplementedError

    def of_state(self, state: "State", specs: Sequence[StreamSpec], decode: Decode | None = None) -> Float[Tensor, " rows"]:
        """The energy of each row's clean tokens: the sum over the streams `specs`."""
        total = torch.zeros(len(state), device=state.device)
        for spec in specs:
            total = total + self.value(state[spec.name].values, Layout.of(state[spec.name], spec))
        return total


class Roughness(Energy, kind="roughness"):
    """Half the squared differences between neighbours along an axis, summed: smooth motions, quiet pictures."""

    along: str = Field(default="", description="The axis; empty: the stream's first.")

    def refuses(self, spec: StreamSpec) -> str | None:
        names = [axis.name for axis in spec.axes]
        if names and self.along in ("", *names):
            return None
        return f"energy 'roughness' goes along an axis '{self.along}': stream '{spec.name}' has {names or 'none'}"

    def value(self, x: Float[Tensor, "rows tokens width"], layout: Layout) -> Float[Tensor, " rows"]:
        problem = self.refuses(layout.spec)
        if problem:
            raise ValueError(problem)
        names = [axis.name for axis in layout.spec.axes]
        chosen = names.index(self.along) if self.along else 0
        near = layout.mask[:, :, None] & layout.mask[:, None]
        for axis in range(len(names)):
            cell = layout.cells(axis)
            near = near & (cell[:, None] - cell[:, :, None] == (1 if axis == chosen else 0))
        squares = (x[:, :, None] - x[:, None]).square().sum(-1)
        return 0.5 * (squares * near).flatten(1).sum(1)


class FunctionEnergy(Energy, kind="function"):
    """Any function of clean tokens `(B, N, C)` and their `Layout` to `(B,)`; to guide, it must be differentiable. From Python only."""

    python_only: ClassVar[bool] = True

    function: Code = Field(description="Of tokens and a `Layout`.")

    def value(self, x: Float[Tensor, "rows tokens width"], layout: Layout) -> Float[Tensor, " rows"]:
        return self.function.by_row(x, layout)


class SampleEnergy(Energy):
    """An energy of decoded samples, without gradients: a subclass gives `of_samples`, and what it cannot judge.

    `best_of` and the solver `value-search` go by it. The whole state is decoded, all its streams.
    """

    differentiable: ClassVar[bool] = False

    def of_samples(self, samples: list[Any]) -> Float[Tensor, " samples"]:
        """The energy of each sample; NaN or infinite for one that is broken (it cannot be read, say): it is never chosen."""
        raise NotImplementedError

    def unjudged(self, sample: Any) -> str | None:
        """Why it has no value of samples such as this one (of another modality), or None."""
        return None

    def of_state(self, state: "State", specs: Sequence[StreamSpec], decode: Decode | None = None) -> Float[Tensor, " rows"]:
        """The energy of each row's sample. Errors: `ValueError` without `decode`, and for anything but a number a sample."""
        if decode is None:
            raise ValueError(no_decoder(self))
        return number_each(self.of_samples(decode(state)), len(state)).to(state.device, torch.float32)


class SampleFunction(SampleEnergy, kind="sample-function"):
    """Any function of a list of decoded samples to `(B,)`: a simulator, a count, somebody else's network. From Python only."""

    python_only: ClassVar[bool] = True

    function: Code = Field(description="Of a list of samples, to a tensor with a number each.")

    def of_samples(self, samples: list[Any]) -> Float[Tensor, " samples"]:
        return number_each(self.function(samples), len(samples))


def no_decoder(energy: Energy) -> str:
    """What to say of an energy of samples where there are tokens only."""
    return (
        f"energy '{energy.kind}' judges decoded samples, and only tokens are here: give the `RowGenerator` or `Engine` "
        "`decode=tokenizer.decode`, as a run does"
    )
