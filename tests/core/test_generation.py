"""Rows that are made one call after the other, by one engine that stays."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from anylatent.corrections.base import Correction
from anylatent.corrections.classifier import ClassifierFunction
from anylatent.corrections.ddnm import DDNM
from anylatent.engine import Engine, Request
from anylatent.generation import RowGenerator
from anylatent.known import Known
from anylatent.paths import Rectified
from anylatent.sampling import Sampling
from anylatent.solvers.ddim import DDIM
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.state import State
from anylatent.testing.oracles import MixtureOracle

ASKED = [{"component": index % 3} for index in range(7)]
THREE = ClassifierFunction(classifier=lambda x, t, layout: (x.sum((1, 2))[:, None] * torch.arange(3)).log_softmax(1))


def generator(**sampling: Any) -> RowGenerator:
    """Of three Gaussians, 3 rows at once."""
    drawn = torch.Generator().manual_seed(0)
    means = torch.randn(3, 5, 2, generator=drawn)
    oracle = MixtureOracle(Rectified(), torch.tensor([0.2, 0.3, 0.5]), means, torch.tensor([0.1, 0.3, 0.2]))
    return RowGenerator(oracle, Sampling.model_validate({"steps": 4, "batch": 3, "solver": DPMpp2M()} | sampling), noised=False)


def layout(made: RowGenerator, *seeds: int) -> State:
    assert isinstance(made.denoiser, MixtureOracle)
    return made.denoiser.layout(seeds)


def alone(seed: int, asked: Mapping[str, Any]) -> torch.Tensor:
    fresh = generator()
    return fresh(layout(fresh, seed), [asked])["tokens"].values[0]


def test_rows_come_in_their_order_with_the_seeds_that_were_asked() -> None:
    made = generator()
    state = made(layout(made, *range(10, 17)), ASKED)
    assert state.seeds.tolist() == list(range(10, 17))
    for row in range(7):
        torch.testing.assert_close(state["tokens"].values[row], alone(10 + row, ASKED[row]), atol=1e-5, rtol=0)
    assert len(made.engine) == 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_as_many_conditions_as_rows_are_asked_for(count: int) -> None:
    made = generator()
    with pytest.raises(ValueError, match=rf"{count} conditions were given for 2 rows: give one each, \{{\}} asks nothing"):
        made(layout(made, 0, 1), [{}] * count)
    assert len(made.engine) == 0


@pytest.mark.parametrize("held", [False, True], ids=["let go", "held on to"])
def test_a_stream_that_is_left_half_way_does_not_touch_the_next(held: bool) -> None:
    """Let go, its rows are gone; held on to, they wait, and its other rows come when they are asked for."""
    made = generator()
    left = made.stream(layout(made, *range(7)), ASKED)
    first = next(left)
    assert first.row == 0
    assert len(made.engine) > 0
    if not held:
        left.close()
        assert len(made.engine) == 0, "nobody waits for them"
    state = made(layout(made, 20, 21), ASKED[:2])
    assert state.seeds.tolist() == [20, 21]
    for row in range(2):
        torch.testing.assert_close(state["tokens"].values[row], alone(20 + row, ASKED[row]), atol=1e-5, rtol=0)
    rest = list(left)
    assert [done.row for done in rest] == ([1, 2, 3, 4, 5, 6] if held else [])
    for done in rest:
        torch.testing.assert_close(done.state["tokens"].values[0], alone(done.row, ASKED[done.row]), atol=1e-5, rtol=0)
    assert len(made.engine) == 0


def test_an_interrupted_call_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    made = generator()
    predict, calls = made.denoiser.forward, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(*arguments)

    monkeypatch.setattr(made.denoiser, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(layout(made, *range(7)), ASKED)
    assert len(made.engine) == 0
    state = made(layout(made, 4), ASKED[:1])
    torch.testing.assert_close(state["tokens"].values[0], alone(4, ASKED[0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"begun": {"sound": torch.zeros(2, 5, 2)}}, r"`Known\.begun` names the streams \['sound'\]: the denoiser has \['tokens'\]"),
        ({"measured": {"sound": {"y": torch.zeros(2, 1)}}}, r"`Known\.measured` names the streams \['sound'\]"),
        ({"memory": {"sound": {}}}, r"`Known\.memory` names the streams \['sound'\]"),
        ({"begun": {"tokens": torch.zeros(2, 4, 2)}}, r"'tokens' has the shape \(2, 4, 2\): the request's tokens have \(2, 5, 2\)"),
        ({"prior": {"tokens": torch.zeros(3, 5, 2)}}, r"`Known\.prior` of stream 'tokens' has 3 rows: the request has 2"),
        ({"measured": {"tokens": {"y": torch.zeros(1, 5, 2)}}}, r"of stream 'tokens', 'y', has 1 rows: the request has 2"),
        ({"spent": {"engine": {"calls": torch.zeros(1)}}}, r"`Known\.spent` of 'engine', 'calls', has 1 rows: the request has 2"),
        (
            {"memory": {"tokens": {"nonsense": torch.zeros(2)}}},
            r"'tokens' has .*: its solver remembers \{'m1': \(2, 5, 2\)\}",
        ),
        ({"recorded": {"tokens": torch.zeros(2, 4, 1, 1)}}, r"'tokens' has the shape \(2, 4, 1, 1\): expected \(2, steps, 5, 2\)"),
        ({"recorded": {"tokens": torch.zeros(2, 4, 10)}}, r"'tokens' has the shape \(2, 4, 10\): expected \(2, steps, 5, 2\)"),
        ({"recorded": {"tokens": torch.zeros(2, 3, 5, 2)}}, r"`Known\.recorded` of stream 'tokens' has the noise of 3 steps: .* makes 4"),
    ],
)
def test_what_is_not_known_of_these_rows_is_refused(known: dict[str, Any], message: str) -> None:
    made = generator()
    with pytest.raises(ValueError, match=message):
        made(layout(made, 0, 1), ASKED[:2], known=Known(**known))
    assert len(made.engine) == 0


@pytest.mark.parametrize(
    ("correction", "measured", "message"),
    [
        (DDNM(), {"y": torch.zeros(2, 1, 2)}, r"'y', has \(1, 2\) numbers a row: correction 'ddnm', .* 'identity', goes by \(5, 2\)"),
        (DDNM(), {"y": torch.zeros(2, 3, 2)}, r"'y', has \(3, 2\) numbers a row: correction 'ddnm', .* 'identity', goes by \(5, 2\)"),
        (THREE, {"class": torch.tensor([[0], [3]])}, r"'class', is \[\[0\], \[3\]\]: .* expects one of 0 to 2 a row"),
        (THREE, {"class": torch.zeros(2, 3)}, r"expects one of 0 to 2 a row"),
    ],
    ids=["one-for-all", "fewer", "no-class", "three-classes"],
)
def test_what_was_measured_otherwise_is_refused(correction: Correction, measured: dict[str, torch.Tensor], message: str) -> None:
    made = generator(corrections=(correction,))
    with pytest.raises(ValueError, match=f"`Known.measured` of stream 'tokens', .*{message}"):
        made(layout(made, 0, 1), ASKED[:2], known=Known(measured={"tokens": measured}))
    assert len(made.engine) == 0


def test_a_class_may_be_given_without_an_axis() -> None:
    made = generator(corrections=(THREE,))
    one, other = (
        made(layout(made, 0, 1), ASKED[:2], known=Known(measured={"tokens": {"class": each}}))["tokens"].values
        for each in (torch.tensor([0, 2]), torch.tensor([[0], [2]]))
    )
    assert torch.equal(one, other)
    engine = Engine(made.denoiser)
    for row, known in enumerate((torch.tensor([0]), torch.tensor([[2]]))):
        asked = made.denoiser.conditions(ASKED[row : row + 1])
        engine.add(Request(layout(made, row), asked, made.sampling, known=Known(measured={"tokens": {"class": known}})))
    joined = torch.cat([done.state["tokens"].values for done in sorted(engine.stream(), key=lambda done: done.row)])
    torch.testing.assert_close(joined, one, atol=1e-5, rtol=0)


@pytest.mark.parametrize("other", [{"nonsense": torch.zeros(2)}, {}, {"m1": torch.zeros(2, 1, 2)}], ids=["name", "none", "shape"])
def test_what_a_solver_remembers_is_known_by_its_names_and_shapes(other: dict[str, torch.Tensor]) -> None:
    shapes, own = {"tokens": (2, 5, 2)}, {"tokens": DPMpp2M().memory(torch.zeros(2, 5, 2))}
    assert list(Known(memory=own).problems(shapes, own)) == list(Known().problems(shapes, own)) == []
    (said,) = Known(memory={"tokens": other}).problems(shapes, own)
    assert said.startswith("`Known.memory` of stream 'tokens' has ")
    assert said.endswith(": its solver remembers {'m1': (2, 5, 2)}")


def test_receipts_begin_with_what_was_spent_before() -> None:
    made = generator()
    known = Known(spent={"engine": {"network_calls": torch.tensor([3.0, 0.0]), "inversion_calls": torch.tensor([3.0, 0.0])}})
    finished = sorted(made.stream(layout(made, 0, 1), ASKED[:2], known=known), key=lambda done: done.row)
    counts = [done.receipts["engine"] for done in finished]
    assert [row["network_calls"] for row in counts] == [7, 4]
    assert [row.get("inversion_calls", 0) for row in counts] == [3, 0]


def test_an_inversion_says_what_it_cost() -> None:
    made = generator(solver=DDIM())
    spent = made.invert(layout(made, 0, 1), ASKED[:2]).spent["engine"]
    assert {name: count.tolist() for name, count in spent.items()} == {
        "network_calls": [4, 4], "inversion_calls": [4, 4], "tokens": [20, 20],
    }  # fmt: skip
