"""What every energy must hold to: of tokens, and of decoded samples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from anylatent.best_of import BestOf
from anylatent.corrections.energy import EnergyGuidance
from anylatent.energies import Energy, SampleEnergy
from anylatent.measurements.base import Layout
from anylatent.spec import StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.measurements import rows_of
from anylatent.types import Tensor


@dataclass
class EnergyCase:
    """An energy of tokens, and the layout of rows that it has a value of: ragged, if it can be."""

    energy: Energy
    layout: Layout

    def tokens(self, seed: int = 0) -> Tensor:
        """Random clean tokens of the layout; padding 0."""
        x = torch.randn(*self.layout.mask.shape, self.layout.spec.width, generator=torch.Generator().manual_seed(seed))
        return x * self.layout.mask[..., None]


class EnergyContract:
    """Subclass it and give one fixture:

    class TestMine(EnergyContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            return EnergyCase(MyEnergy(), grid_layout())
    """

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> EnergyCase:
        raise NotImplementedError("give the fixture `case`")

    def test_it_is_a_number_a_row_and_not_the_same_for_all(self, case: EnergyCase) -> None:
        assert case.energy.refuses(case.layout.spec) is None
        found = case.energy.value(case.tokens(), case.layout)
        assert found.shape == (len(case.layout.mask),)
        assert found.isfinite().all()
        assert len(found.unique()) > 1

    def test_padding_does_not_matter(self, case: EnergyCase) -> None:
        """Neither how much of it there is, nor what is in it."""
        x, layout = case.tokens(), case.layout
        plain = case.energy.value(x, layout)
        wide = torch.nn.functional.pad(x, (0, 0, 0, 3), value=7.0)
        wide[:, : x.shape[1]][~layout.mask] = -5.0
        more = replace(
            layout,
            mask=torch.nn.functional.pad(layout.mask, (0, 3)),
            positions=torch.nn.functional.pad(layout.positions, (0, 0, 0, 3), value=9.0),
        )
        torch.testing.assert_close(case.energy.value(wide, more), plain, atol=1e-5, rtol=1e-5)

    def test_rows_are_alone_together(self, case: EnergyCase) -> None:
        x = case.tokens()
        together = case.energy.value(x, case.layout)
        for row in range(len(x)):
            alone = case.energy.value(x[row : row + 1], rows_of(case.layout, [row]))
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)

    def test_it_has_gradients_if_it_says_so(self, case: EnergyCase) -> None:
        """Of numerical differences: to a hundredth, in float64."""
        if not case.energy.differentiable:
            pytest.skip("it says that it has none")
        x = case.tokens().double().requires_grad_()
        (slope,) = torch.autograd.grad(case.energy.value(x, case.layout).sum(), x)
        assert slope.isfinite().all()
        assert slope.abs().max() > 0
        step = 1e-4 * case.tokens(1).double()
        with torch.no_grad():
            change = case.energy.value(x + step, case.layout).sum() - case.energy.value(x - step, case.layout).sum()
        torch.testing.assert_close((slope * 2 * step).sum(), change, atol=1e-8, rtol=1e-2)


@dataclass
class SampleEnergyCase:
    """An energy of decoded samples; samples that it can judge, not all alike, broken ones, and a sample of another modality."""

    energy: SampleEnergy
    samples: Sequence[Any]
    foreign: Any
    broken: Sequence[Any] = ()


class SampleEnergyContract:
    """Subclass it and give one fixture:

    class TestMine(SampleEnergyContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            return SampleEnergyCase(MyEnergy(), samples=[...], foreign="no sample", broken=[...])
    """

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> SampleEnergyCase:
        raise NotImplementedError("give the fixture `case`")

    @staticmethod
    def _of(case: SampleEnergyCase, samples: Sequence[Any]) -> Tensor:
        """The energies of samples, through a decoder that hands them out."""
        state = State.of({"tokens": Stream.of(torch.zeros(len(samples), 1, 1))})
        return case.energy.of_state(state, (), lambda state: [samples[row] for row in state.rows.tolist()])

    def test_it_is_a_finite_number_a_sample_and_not_the_same_for_all(self, case: SampleEnergyCase) -> None:
        found = self._of(case, case.samples)
        assert found.isfinite().all()
        assert len(found.unique()) > 1

    def test_samples_are_alone_together(self, case: SampleEnergyCase) -> None:
        """Beside others, broken ones among them, in any order; and the same twice."""
        alone = torch.cat([self._of(case, [sample]) for sample in case.samples])
        others = [*case.broken, *reversed(case.samples)]
        together = self._of(case, others)[len(case.broken) :].flip(0)
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(self._of(case, others), self._of(case, others), atol=0, rtol=0, equal_nan=True)

    def test_what_is_broken_is_never_chosen(self, case: SampleEnergyCase) -> None:
        if not case.broken:
            pytest.skip("whatever is decoded can be judged")
        samples = [*case.broken, case.samples[0]]
        state = State.of({"tokens": Stream.of(torch.zeros(len(samples), 1, 1))})
        worth = BestOf(energy=case.energy).worth(state, (), lambda state: [samples[row] for row in state.rows.tolist()])
        assert worth[:-1].tolist() == [-torch.inf] * len(case.broken)
        assert worth[-1].isfinite()

    def test_samples_of_another_kind_are_refused_by_name(self, case: SampleEnergyCase) -> None:
        assert case.energy.unjudged(case.samples[0]) is None
        assert f"energy '{case.energy.kind}'" in (case.energy.unjudged(case.foreign) or "")

    def test_it_cannot_guide_by_gradients(self, case: SampleEnergyCase) -> None:
        refused = EnergyGuidance(energy=case.energy).refuses([StreamSpec(name="tokens", width=1)])
        assert f"energy '{case.energy.kind}' has none: search with `best_of`" in (refused or "")
