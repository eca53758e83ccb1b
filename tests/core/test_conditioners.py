from collections.abc import Sequence
from typing import Any

import pytest
import torch

from anylatent.condition import Condition, TokenSet
from anylatent.conditioners.base import Conditioner, Conditions
from anylatent.conditioners.config import ConditionerConfig
from anylatent.conditioners.standard import ClassConfig, NumberConfig, SequenceConfig
from anylatent.testing import ConditionerCase, ConditionerContract

SLOTS = ("global", "cross", "prepend")


class TestClass(ConditionerContract):
    @pytest.fixture(scope="class", params=SLOTS)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> ConditionerCase:
        values = [7, 2, 5, 2, 7]
        return ConditionerCase(
            ClassConfig(slot=request.param), values, bad=[3, "two", [2], 2.5], texts=[("2", 2), ("-3", -3), ("a cat", "a cat")]
        )


class TestNamedClass(ConditionerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ConditionerCase:
        return ConditionerCase(
            ClassConfig(), ["a cat", "dog", 9, "bird"], bad=["horse", ""], texts=[("dog", "dog"), ("9", 9)], bad_texts=["cats"]
        )


class TestNumber(ConditionerContract):
    @pytest.fixture(scope="class", params=SLOTS)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> ConditionerCase:
        values = [1.5, -2, 300.0, 4.25]
        bad = ["one", float("nan"), float("inf"), [1.0, 2.0], []]
        return ConditionerCase(
            NumberConfig(slot=request.param), values, bad, texts=[("-2.5", -2.5), ("1e3", 1000.0)], bad_texts=["two", "1,2", ""]
        )


class TestTwoNumbers(ConditionerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ConditionerCase:
        values = [[1, 2.0], [3, 4], [1, 4], [9, -1]]
        return ConditionerCase(
            NumberConfig(count=2), values, bad=[1.0, [1], [1, None]], texts=[("1,2.5", [1, 2.5])], bad_texts=["1", "1;2"]
        )


class TestSequence(ConditionerContract):
    @pytest.fixture(scope="class", params=SLOTS[1:])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> ConditionerCase:
        config = SequenceConfig(slot=request.param, length=12)
        return ConditionerCase(
            config, ["a cat", "ein Bär", [0, 255, 3], "x"], bad=[5, 0, [256], [-1], ["a"], 2.5], texts=[("a cat", "a cat")]
        )


def test_classes_are_ordered_whatever_the_records_are() -> None:
    """Saved weights belong to classes by their order."""
    built = [ClassConfig().build(4, values).examples for values in ([3, 1, "b", "a", 2, 1], ["a", 2, "b", 1, 3])]
    assert built[0] == built[1] == [1, 2, 3, "a", "b"]


def test_numbers_are_scaled_by_the_training_set() -> None:
    """The same numbers in other units are the same condition."""
    metres, millimetres = [1.0, 2.0, 5.0, 0.5], [1000.0, 2000.0, 5000.0, 500.0]
    one, other = ConditionerCase(NumberConfig(), metres).built(), ConditionerCase(NumberConfig(), millimetres).built()
    for a, b in zip([*metres, 3.3], [*millimetres, 3300.0], strict=True):
        torch.testing.assert_close(one([a]), other([b]), atol=1e-4, rtol=1e-4)


def test_an_empty_text_asks_nothing_and_a_long_one_is_cut() -> None:
    conditioner = ConditionerCase(SequenceConfig(length=4), ["a"]).built()
    for nothing in ("", [], None):
        assert torch.equal(conditioner([nothing]).values, conditioner([None]).values)
    assert torch.equal(conditioner(["abcdefgh"]).values, conditioner(["abcd"]).values)
    assert conditioner(["abcd", "ab", None]).mask.sum(1).tolist() == [4, 2, 1]


def test_symbols_are_read_in_order() -> None:
    conditioner = ConditionerCase(SequenceConfig(), ["a"]).built()
    assert (conditioner(["ab"]).values - conditioner(["ba"]).values.flip(1)).abs().max() > 1e-3


# ------------------------------------------------------------------------------------------------------------ together


def conditions() -> Conditions:
    named: dict[str, ConditionerConfig] = {
        "label": ClassConfig(), "size": NumberConfig(), "text": SequenceConfig(), "name": SequenceConfig(slot="prepend"),
        "kind": ClassConfig(slot="cross"),
    }  # fmt: skip
    values: dict[str, Sequence[Any]] = {"label": [1, 2], "size": [0.5, 1.5], "text": [], "name": [], "kind": ["a", "b"]}
    return Conditions(32, {name: ConditionerCase(config, values[name]).built() for name, config in named.items()}).requires_grad_(False)


ASKED = [
    {"label": 1, "text": "two words", "kind": "b"},
    {"size": 1.0, "name": "x"},
    {},
    {"label": None, "text": "w", "name": "abc", "size": 2},
]


def test_several_conditions_share_vector_and_tokens() -> None:
    made = conditions()(ASKED)
    assert made.vector.shape == (4, 32)
    assert made.cross is not None
    assert made.prepend is not None
    assert made.cross.mask.sum(1).tolist() == [9 + 1, 1 + 1, 1 + 1, 1 + 1], "the text's tokens and the kind's"
    assert made.prepend.mask.sum(1).tolist() == [1, 1, 1, 3]


def test_conditions_of_rows_are_alone_together() -> None:
    """In a batch, selected from it, and put together again."""
    all_of_them = conditions()
    together = all_of_them(ASKED)
    again = Condition.cat([all_of_them(ASKED[:1]), all_of_them(ASKED[1:])])
    for row, asked in enumerate(ASKED):
        alone = all_of_them([asked])
        for batch in (together, again):
            mine = batch.select(torch.tensor([row]))
            torch.testing.assert_close(mine.vector, alone.vector, atol=1e-5, rtol=1e-5)
            for slot in ("cross", "prepend"):
                tokens, expected = getattr(mine, slot), getattr(alone, slot)
                torch.testing.assert_close(_valid(tokens), _valid(expected), atol=1e-5, rtol=1e-5)


def _valid(tokens: TokenSet) -> torch.Tensor:
    return tokens.values[0][tokens.mask[0]]


# ------------------------------------------------------------------------------------------------------------ refusals


def test_an_unknown_condition_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"unknown condition \['colour'\]: this denoiser knows \['kind', 'label', 'name', 'size', 'text'\]"
    ):
        conditions()([{"colour": "red"}])
    with pytest.raises(ValueError, match=r"unknown condition \['label'\]: this denoiser knows none"):
        Conditions(8, {})([{"label": 1}])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"label": 9}, r"condition 'label': there is no class 9; the training set has 1, 2"),
        ({"size": "big"}, r"condition 'size': expected 1 finite number, given 'big'"),
        ({"size": [1, 2]}, r"condition 'size': expected 1 finite number, given \[1, 2\]"),
        ({"text": 7}, r"condition 'text': expected a text or whole numbers from 0 to 255, given 7"),
    ],
)
def test_a_bad_value_is_refused_with_what_was_expected(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conditions()([asked])


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (ClassConfig(), [None, None], "a class condition needs a training set with classes, given none"),
        (NumberConfig(), [None], "a number condition needs a training set with numbers, given none"),
        (NumberConfig(), ["five"], "expected 1 finite number, given 'five'"),
        (SequenceConfig(slot="global"), [], "a sequence is tokens: choose slot 'cross' or 'prepend'"),
        (SequenceConfig(heads=5), [], "width 32 of the denoiser cannot be shared by the 5 heads of a sequence condition"),
    ],
)
def test_what_cannot_be_built_is_refused(config: ConditionerConfig, values: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config.build(32, values)


@pytest.mark.parametrize(
    ("config", "text", "message"),
    [
        (NumberConfig(), "much", "expected a number, given 'much'"),
        (NumberConfig(), "1,2", "expected a number, given '1,2'"),
        (NumberConfig(count=2), "1,much", "expected 2 numbers, separated by commas, given '1,much'"),
    ],
)
def test_a_text_that_is_no_number_is_refused(config: ConditionerConfig, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config.parse(text)


# ------------------------------------------------------------------------------------------------- the contract finds faults


class Faulty(ClassConfig, kind="test-faulty"):
    fault: str

    def build(self, width: int, values: Sequence[Any]) -> Conditioner:
        from anylatent.conditioners.networks import ClassConditioner

        class Network(ClassConditioner):
            def forward(self, raw: Sequence[Any | None]) -> torch.Tensor | TokenSet:
                match fault:
                    case "rows_are_alone_together":
                        return (out := super().forward(raw)) - out.mean(0)
                    case "the_null_is_one":
                        return super().forward([self.examples[0] if value is None else value for value in raw])
                    case "values_matter":
                        return super().forward([None for _ in raw])
                    case "bad_values_are_refused":
                        return super().forward([value if value in self.examples else None for value in raw])
                    case "rows_are_of_its_slot":
                        return super().forward(raw)[:, 1:]
                    case "gradients_reach_every_weight":
                        return super().forward(raw).detach().requires_grad_()
                return super().forward(raw)

        fault = self.fault
        network = Network(self, width, values if fault == "the_training_values_may_be_incomplete" else [v for v in values if v is not None])
        if fault == "saved_is_loaded":
            network.examples = network.examples[1:]
        if fault == "the_training_values_may_be_incomplete" and None in values:
            network.table.weight.data += 1
        return network

    def parse(self, text: str) -> Any:
        return text if self.fault == "texts_are_read" else super().parse(text)


LAWS = sorted(name.removeprefix("test_") for name in vars(ConditionerContract) if name.startswith("test_"))


@pytest.mark.parametrize("law", LAWS)
def test_each_law_finds_a_conditioner_that_breaks_it(law: str, tmp_path) -> None:
    case = ConditionerCase(Faulty(fault=law), [1, 2, 3], bad=[4], texts=[("2", 2)])
    built = (
        {}
        if law in ("gradients_reach_every_weight", "the_training_values_may_be_incomplete")
        else {"conditioner": case.built().requires_grad_(False)}
    )
    arguments = built | ({"tmp_path": tmp_path} if law == "saved_is_loaded" else {})
    with pytest.raises((AssertionError, ValueError, RuntimeError, pytest.fail.Exception)):
        getattr(ConditionerContract(), f"test_{law}")(case, **arguments)
