import re

import pytest
import torch

from anylatent.corrections.pi_gdm import PiGDM
from anylatent.editing.masked_completion import MaskedCompletion
from anylatent.measurements.average import Average, Total
from anylatent.measurements.base import Code, Layout, Measurement
from anylatent.measurements.blur import Blur
from anylatent.measurements.given import Function, Linear
from anylatent.measurements.select import Identity, Select
from anylatent.recipe import read
from anylatent.testing import TokenizerCase
from anylatent.testing.measurements import MeasurementCase, MeasurementContract, grid_layout, rows_of, set_layout
from anylatent.tokenizers.grid import GridConfig

GRID, SET = grid_layout(), set_layout()
EVEN = grid_layout((4, 4))
MATRIX = torch.randn(5, 32, generator=torch.Generator().manual_seed(3))


def squared(x: torch.Tensor, layout) -> torch.Tensor:
    return (x.square() * layout.mask[..., None]).sum((1, 2), keepdim=True)


CASES = {
    "all of a grid": MeasurementCase(Identity(), GRID),
    "two channels of a set": MeasurementCase(Identity(channels=(0, 2)), SET),
    "half of a grid": MeasurementCase(Select(anew={"y": (0.5, 1.0)}), GRID),
    "a window of one channel": MeasurementCase(Select(anew={"x": (0, 0.5), "y": (0, 0.6)}, channels=(1,)), GRID),
    "part of a set": MeasurementCase(Select(invert=True), SET),
    "means of 2 x 2": MeasurementCase(Average(over={"y": 2, "x": 2}), GRID),
    "means along x": MeasurementCase(Average(over={"x": 0}), GRID),
    "means of pairs": MeasurementCase(Average(), SET),
    "the mean of a set": MeasurementCase(Average(tokens=0), SET),
    "the sum along y": MeasurementCase(Total(along=("y",)), GRID),
    "the sum of a set": MeasurementCase(Total(), SET),
    "a blurred grid": MeasurementCase(Blur(width=0.8), GRID),
    "blurred along x": MeasurementCase(Blur(axes=("x",)), GRID),
    "a matrix": MeasurementCase(Linear(matrix=MATRIX), EVEN),
    "a function": MeasurementCase(Function(function=squared), SET),
}


class TestMeasurements(MeasurementContract):
    @pytest.fixture(scope="class", params=CASES.values(), ids=CASES)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> MeasurementCase:
        return request.param


def test_means_are_of_neighbours() -> None:
    """2 x 2 blocks of a 4 x 4 grid: the means that pooling makes, at the blocks' first tokens."""
    x = torch.randn(1, 16, 1)
    y = Average(over={"y": 2, "x": 2}).apply(x, rows_of(grid_layout((4,), channels=1), [0])).reshape(4, 4)
    pooled = torch.nn.functional.avg_pool2d(x.reshape(1, 4, 4), 2)[0]
    torch.testing.assert_close(y[::2, ::2], pooled)
    assert y.count_nonzero() == 4


def test_the_rest_of_an_uneven_extent_is_a_smaller_group() -> None:
    """3 rows of a grid in pairs: the last group has one."""
    x = torch.randn(1, 12, 1)
    y = Average(over={"y": 2}).apply(x, grid_layout((3,), channels=1)).reshape(3, 4)
    grid = x.reshape(3, 4)
    torch.testing.assert_close(y, torch.stack((grid[:2].mean(0), torch.zeros(4), grid[2])))


def test_the_sum_of_a_chain_is_where_it_leads() -> None:
    x = torch.randn(3, 6, 3) * SET.mask[..., None]
    y = Total(channels=(0, 1)).apply(x, SET)
    torch.testing.assert_close(y[:, 0, :2], x.sum(1)[:, :2])
    assert not y[:, 1:].any()
    assert not y[..., 2].any()


def test_a_blur_is_a_convolution_inside_and_a_mean_at_the_border() -> None:
    layout = grid_layout((9,), width=9, channels=1)
    ones = torch.ones(1, 81, 1)
    torch.testing.assert_close(Blur().apply(ones, layout), ones)
    spike = torch.zeros(1, 9, 9)
    spike[0, 4, 4] = 1
    blurred = Blur(width=0.7).apply(spike.reshape(1, 81, 1), layout).reshape(9, 9)
    offsets = torch.arange(9.0) - 4
    kernel = torch.exp(-(offsets**2) / (2 * 0.7**2))
    torch.testing.assert_close(blurred, torch.outer(kernel, kernel) / kernel.sum() ** 2, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("measurement", "layout", "message"),
    [
        (Select(anew={"z": (0, 0.5)}), GRID, r"there is no axis \['z'\]: the tokens have \['x', 'y'\]"),
        (Select(anew={"y": (0, 0.5)}), SET, r"there is no axis \['y'\]: the tokens have none, use `tokens`"),
        (Average(), GRID, r"measurement 'average' needs `over`: neighbours by axis, of \['y', 'x'\]"),
        (Average(over={"y": -1}), GRID, r"groups of -1 neighbours: expected 0 \(all\) or more, by axis"),
        (Average(over={"q": 2}), GRID, r"there is no axis \['q'\]"),
        (Total(along=("t",)), GRID, r"there is no axis \['t'\]"),
        (Blur(), SET, r"measurement 'blur' needs axes to blur along: stream 'elements' has none"),
        (Blur(axes=("t",)), GRID, r"there is no axis \['t'\]"),
        (Identity(channels=(0, 7)), GRID, r"names the channels \[7\] of stream 'grid', which has 2"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_name(measurement: Measurement, layout, message: str) -> None:
    assert re.search(message, measurement.refuses(layout.spec) or "")


def test_a_matrix_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="has 5 columns: 16 tokens have 2 numbers each"):
        Linear(matrix=[[1.0] * 5]).apply(torch.zeros(2, 16, 2), EVEN)
    with pytest.raises(ValueError, match=r"expected rows of equal length, at least one; given lengths \[2, 1\]"):
        Linear(matrix=[[1.0, 2.0], [1.0]])


def test_a_matrix_measures_rows_beside_longer_ones() -> None:
    """The matrix is for 16 tokens; rows that were padded to more have the same values."""
    wider = grid_layout((4, 4, 6))
    x = torch.randn(3, 24, 2)
    short = Linear(matrix=MATRIX).apply(x[:, :16], grid_layout((4, 4, 4)))
    torch.testing.assert_close(Linear(matrix=MATRIX).apply(x, wider), short)
    assert not Linear(matrix=MATRIX).adjoint(short, wider)[:, 16:].any()


def test_a_region_is_kept_or_measured_alike() -> None:
    """`select` knows exactly the tokens that `masked-completion` keeps."""
    samples = [torch.randn(8, 6, 1), torch.randn(4, 6, 1)]
    tokenizer = TokenizerCase(GridConfig(patch=(2, 2)), samples, GRID.spec.axes).fitted()
    for options in ({"anew": {"y": (0.4, 1.0)}}, {"anew": {"x": (0, 0.5), "y": (0.2, 1)}, "invert": True}):
        state = MaskedCompletion(**options).start(tokenizer, samples, torch.arange(2))
        (stream,) = state.streams.values()
        known = Select(**options).support(stream.values, Layout.of(stream, tokenizer.specs[0]))
        assert torch.equal(known[..., 0] > 0, stream.keep)


def test_measurements_are_nodes() -> None:
    assert read(Measurement, {"kind": "average", "over": {"y": 2}}) == Average(over={"y": 2})
    assert read(Measurement, {"kind": "linear", "matrix": [[1, 2]]}) == Linear(matrix=torch.tensor([[1.0, 2.0]]))
    with pytest.raises(ValueError, match=r"interval \[0.8, 0.2\] of 'y' must increase within 0 and 1"):
        Select(anew={"y": (0.8, 0.2)})


def test_functions_come_from_python_only() -> None:
    with pytest.raises(ValueError, match="a function is given from Python only"):
        read(Measurement, {"kind": "function", "function": {"call": "os.system"}})
    one, other = Function(function=squared), Function(function=lambda x, layout: x)
    assert one.key() == Function(function=squared).key() != other.key()
    assert isinstance(one.function, Code)


def test_a_correction_that_needs_a_matrix_refuses_a_function() -> None:
    with pytest.raises(ValueError, match="'pi-gdm' needs a linear measurement, 'function' is none: use dps"):
        PiGDM(measurement=Function(function=squared))
