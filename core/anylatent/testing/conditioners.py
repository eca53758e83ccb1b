"""What every conditioner must hold to."""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from anylatent.condition import TokenSet
from anylatent.conditioners.base import Conditioner, Conditions
from anylatent.conditioners.config import ConditionerConfig
from anylatent.files import read_tensors, write_tensors
from anylatent.testing.backbones import shaken
from anylatent.testing.comparing import difference
from anylatent.types import Tensor


@dataclass
class ConditionerCase:
    """A conditioner's description, with training values: three or more, all different."""

    config: ConditionerConfig
    values: Sequence[Any]
    bad: Sequence[Any] = ()
    """Values that nobody can be asked to be."""
    texts: Sequence[tuple[str, Any]] = ()
    """What is typed on the command line, and the value that it means."""
    bad_texts: Sequence[str] = ()
    width: int = 32
    """Of the denoiser."""

    def built(self, values: Sequence[Any] | None = None) -> Conditioner:
        """The conditioner for these values, with the same weights each time, all of them at work."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            conditioner = self.config.build(self.width, self.values if values is None else values)
        shaken(conditioner)
        return conditioner.eval()


class ConditionerContract:
    """Subclass it and give one fixture:

    class TestMine(ConditionerContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            return ConditionerCase(MyConfig(), values=[1, 2, 3], bad=["one"], texts=[("2", 2)])
    """

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ConditionerCase:
        raise NotImplementedError("give the fixture `case`")

    @pytest.fixture(scope="class")
    @classmethod
    def conditioner(cls, case: ConditionerCase) -> Conditioner:
        assert len(case.values) >= 3, "give three values or more"
        return case.built().requires_grad_(False)

    def test_rows_are_of_its_slot(self, case: ConditionerCase, conditioner: Conditioner) -> None:
        """A vector a row for `global`; for the others tokens, at least one valid one a row."""
        out = conditioner([*case.values, None])
        rows = len(case.values) + 1
        if case.config.slot == "global":
            assert isinstance(out, torch.Tensor)
            assert out.shape == (rows, case.width)
            return
        assert isinstance(out, TokenSet)
        assert out.values.shape == (*out.mask.shape, case.width)
        assert len(out.mask) == rows
        assert out.mask.any(1).all(), "a row without tokens has nothing to attend to"

    def test_rows_are_alone_together(self, case: ConditionerCase, conditioner: Conditioner) -> None:
        raw = [*case.values[:8], None]
        together = [_row(conditioner(raw), i) for i in range(len(raw))]
        for value, row in zip(raw, together, strict=True):
            torch.testing.assert_close(_row(conditioner([value]), 0), row, atol=1e-5, rtol=1e-5)

    def test_the_null_is_one(self, case: ConditionerCase, conditioner: Conditioner) -> None:
        """What None gives, what a missing name gives and what guidance asks for are the same row; no value gives it."""
        conditions = Conditions(case.width, {"it": conditioner})
        beside = conditions([{"it": case.values[0]}, {}]).select(torch.tensor([1]))
        nulls = [conditions([{"it": None}]), conditions([{}]), conditions.null(1), beside]
        rows = [null.vector[0] if case.config.slot == "global" else _row(getattr(null, case.config.slot), 0) for null in nulls]
        for row in rows:
            torch.testing.assert_close(row, rows[0], atol=1e-5, rtol=1e-5)
        for value in case.values:
            asked = _row(conditioner([value]), 0)
            assert asked.shape != rows[0].shape or (asked - rows[0]).abs().max() > 1e-4, f"{value!r} is taken for the null"

    def test_values_matter(self, case: ConditionerCase, conditioner: Conditioner) -> None:
        first, second = (_row(conditioner([value]), 0) for value in case.values[:2])
        assert first.shape != second.shape or (first - second).abs().max() > 1e-4
        assert torch.equal(_row(conditioner([case.values[0]]), 0), first)

    def test_bad_values_are_refused(self, case: ConditionerCase, conditioner: Conditioner) -> None:
        """With the name of the condition and the value that was given."""
        assert case.bad, "give `bad`: values that nobody can be asked to be"
        conditions = Conditions(case.width, {"it": conditioner})
        for value in case.bad:
            with pytest.raises(ValueError, match="condition 'it'") as caught:
                conditions([{"it": case.values[0]}, {"it": value}])
            assert repr(value)[:20] in str(caught.value), f"the message does not say what was given: {caught.value}"

    def test_saved_is_loaded(self, case: ConditionerCase, conditioner: Conditioner, tmp_path: Path) -> None:
        """`examples` through JSON are enough to build it in the same shape, saved weights do the rest, bit for bit."""
        write_tensors(tmp_path / "weights.safetensors", conditioner.state_dict())
        loaded = case.built(json.loads(json.dumps(conditioner.examples)))
        loaded.load_state_dict(read_tensors(tmp_path / "weights.safetensors"))
        raw = [*case.values, None]
        apart = difference(loaded(raw), conditioner(raw))
        assert not apart, apart
        assert loaded.examples == conditioner.examples

    def test_gradients_reach_every_weight(self, case: ConditionerCase) -> None:
        """The null's too: it is learned by dropout."""
        conditioner = case.built()
        out = conditioner([*case.values, None])
        values = out.values[out.mask] if isinstance(out, TokenSet) else out
        values.square().sum().backward()
        unreached = [name for name, p in conditioner.named_parameters() if p.grad is None or not p.grad.any()]
        assert not unreached, f"nothing reaches {unreached}"

    def test_the_training_values_may_be_incomplete(self, case: ConditionerCase) -> None:
        """Records without a value are None, and change nothing."""
        values = [None, *case.values, None]
        conditioner = case.built(copy.deepcopy(values))
        apart = difference(conditioner([*case.values, None]), case.built()([*case.values, None]))
        assert not apart, apart

    def test_texts_are_read(self, case: ConditionerCase, conditioner: Conditioner) -> None:
        for text, value in case.texts:
            assert case.config.parse(text) == value
        for text in case.bad_texts:
            with pytest.raises(ValueError, match=r".+"):
                conditioner([case.config.parse(text)])


def _row(out: Tensor | TokenSet, row: int) -> Tensor:
    """One row: its vector, or its valid tokens."""
    return out.values[row][out.mask[row]] if isinstance(out, TokenSet) else out[row]
