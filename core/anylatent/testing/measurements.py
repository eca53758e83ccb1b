"""What every measurement must hold to."""

from dataclasses import dataclass, replace

import pytest
import torch

from anylatent.measurements.base import Layout, Measurement
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.types import Tensor


@dataclass
class MeasurementCase:
    """A measurement, and the layout of rows that it can measure: ragged, if it can be."""

    measurement: Measurement
    layout: Layout

    def tokens(self, seed: int = 0) -> Tensor:
        """Random clean tokens of the layout; padding 0."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(*self.layout.mask.shape, self.layout.spec.width, generator=generator)
        return x * self.layout.mask[..., None]


def grid_layout(heights: tuple[int, ...] = (4, 2, 3), width: int = 4, channels: int = 2) -> Layout:
    """Rows of grids `(heights[i], width)` on axes y (steps of 2 cm) and x, padded to the longest."""
    longest = max(heights) * width
    mask = torch.stack([torch.arange(longest) < height * width for height in heights])
    place = torch.stack((torch.arange(longest) // width * 2.0, torch.arange(longest) % width + 5.0), -1)
    axes = (AxisSpec(name="y", unit="cm", step=2.0), AxisSpec(name="x", unit="px"))
    return Layout(StreamSpec(name="grid", width=channels, axes=axes), mask, (place * mask[..., None]).contiguous())


def set_layout(sizes: tuple[int, ...] = (6, 3, 5), channels: int = 3) -> Layout:
    """Rows of sets without axes, padded to the longest."""
    mask = torch.stack([torch.arange(max(sizes)) < size for size in sizes])
    return Layout(StreamSpec(name="elements", width=channels, order="set"), mask, torch.zeros(*mask.shape, 0))


def rows_of(layout: Layout, rows: list[int], tokens: int | None = None) -> Layout:
    """Some rows of a layout, with their first `tokens` only."""
    return replace(layout, mask=layout.mask[rows][:, :tokens], positions=layout.positions[rows][:, :tokens])


class MeasurementContract:
    """Subclass it and give one fixture:

    class TestMine(MeasurementContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            return MeasurementCase(MyMeasurement(), grid_layout())
    """

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> MeasurementCase:
        raise NotImplementedError("give the fixture `case`")

    def test_it_measures_something_and_says_where(self, case: MeasurementCase) -> None:
        """Values are 0 where there is no support, and not 0 where there is one."""
        x = case.tokens()
        y, support = case.measurement.apply(x, case.layout), case.measurement.support(x, case.layout)
        assert y.shape == support.shape
        assert ((support == 0) | (support == 1)).all()
        assert (support.flatten(1).sum(1) > 0).all()
        assert torch.equal(y * support, y)
        assert (y[support == 1] != 0).all()

    def test_adjoint(self, case: MeasurementCase) -> None:
        """<A x, y> = <x, A* y>."""
        if not case.measurement.linear:
            return
        x = case.tokens()
        y = torch.randn_like(case.measurement.apply(x, case.layout)) * case.measurement.support(x, case.layout)
        one = (case.measurement.apply(x, case.layout) * y).flatten(1).sum(1)
        other = (x * case.measurement.adjoint(y, case.layout)).flatten(1).sum(1)
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)

    def test_pseudo_inverse(self, case: MeasurementCase) -> None:
        """A A+ A = A and A+ A A+ = A+, to the share of the largest singular value below which others count as 0."""
        if not case.measurement.linear:
            return
        x, measurement, layout = case.tokens(), case.measurement, case.layout
        y = measurement.apply(x, layout)
        back = measurement.pseudo_inverse(y, layout)
        torch.testing.assert_close(measurement.apply(back, layout), y, atol=1e-5, rtol=0)
        torch.testing.assert_close(measurement.pseudo_inverse(measurement.apply(back, layout), layout), back, atol=1e-5, rtol=0)

    def test_filters_follow_the_singular_values(self, case: MeasurementCase) -> None:
        """A^T A x by the filter s of A x; and (A^T A + 1)^-1 A^T y solves its equation."""
        if not case.measurement.linear:
            return
        x, measurement, layout = case.tokens(), case.measurement, case.layout
        y = measurement.apply(x, layout)
        solved = measurement.filtered(y, layout, lambda s: s / (s**2 + 1))
        equation = measurement.adjoint(measurement.apply(solved, layout), layout) + solved
        torch.testing.assert_close(equation, measurement.adjoint(y, layout), atol=1e-5, rtol=1e-5)

    def test_padding_and_other_rows_change_nothing(self, case: MeasurementCase) -> None:
        x, layout = case.tokens(), case.layout
        y = case.measurement.apply(x, layout)
        noisy = x + 100 * ~layout.mask[..., None]
        torch.testing.assert_close(case.measurement.apply(noisy, layout), y, atol=0, rtol=0)
        for row in range(len(x)):
            tokens = int(layout.mask[row].nonzero().max()) + 1
            own = rows_of(layout, [row], tokens)
            alone = case.measurement.apply(x[[row], :tokens], own)
            together = y[[row]][tuple(slice(size) for size in alone.shape)]
            torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)
            assert not y[row, alone.shape[1] :].any(), "a value stands in the padding"
            if case.measurement.linear:
                back = case.measurement.filtered(alone, own, lambda s: s / (s**2 + 0.1))
                whole = case.measurement.filtered(y, layout, lambda s: s / (s**2 + 0.1))
                torch.testing.assert_close(back[0], whole[row, :tokens], atol=1e-5, rtol=0)
