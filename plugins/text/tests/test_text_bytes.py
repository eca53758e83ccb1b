import pytest
import torch

from anylatent.condition import TokenSet
from anylatent.testing import ConditionerCase, ConditionerContract
from anylatent_text.configs import Bytes

SLOTS = ("cross", "prepend", "global")


class TestBytes(ConditionerContract):
    @pytest.fixture(scope="class", params=SLOTS)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> ConditionerCase:
        values = ["a cat", "ein Bär", "a much longer caption of many words", "", "数字の三を手で書いたもの", "🎈 red"]
        return ConditionerCase(
            Bytes(slot=request.param, width=32, length=80),
            values,
            bad=[5, ["a"], 2.5, b"cat", "x" * 81],
            texts=[("a cat", "a cat"), ("7", "7")],
        )


def test_a_sentence_is_as_many_tokens_as_words() -> None:
    conditioner = ConditionerCase(Bytes(), ["a"]).built()
    out = conditioner(["a handwritten three", "three", None, "", "x" * 40])
    assert isinstance(out, TokenSet)
    assert out.mask.sum(1).tolist() == [3, 1, 1, 1, 3]


def test_the_order_of_words_matters() -> None:
    conditioner = ConditionerCase(Bytes(slot="global"), ["a"]).built()
    first, second = conditioner(["a dog bites a man", "a man bites a dog"])
    assert isinstance(first, torch.Tensor)
    assert (first - second).abs().max() > 1e-3


def test_a_text_too_long_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match=r"has 12 bytes in UTF-8, at most 10 are read.*raise `length`"):
        Bytes(length=10).build(16, ["short", "ä" * 6])


def test_heads_must_share_the_width() -> None:
    with pytest.raises(ValueError, match="width 30 must be an even multiple of heads"):
        Bytes(width=30, heads=4)
