"""What the parts of an objective must hold to: densities of times, weightings, losses, couplings."""

import pytest
import torch

from anylatent.condition import Condition
from anylatent.objective.coupling import Coupling, Meeting
from anylatent.objective.losses import Loss
from anylatent.objective.times import TimeDensity
from anylatent.objective.weighting import Weighting
from anylatent.paths import EDM, Cosine, GaussianPath, LinearBeta, Rectified
from anylatent.state import State, Stream

PATHS: list[GaussianPath] = [Rectified(), Cosine(), EDM(), LinearBeta()]


class TimeDensityContract:
    """Subclass it and give the fixture `density`."""

    @pytest.fixture(scope="class")
    @classmethod
    def density(cls) -> TimeDensity:
        raise NotImplementedError("give the fixture `density`")

    def test_times_are_inside_and_rise_with_the_quantile(self, density: TimeDensity) -> None:
        """All but for a share of rows that sees other times (`ends`), which comes first."""
        u = (torch.arange(1 << 12) + 0.5) / (1 << 12)
        for path in PATHS:
            times = density.times(u, path)
            assert times.shape == u.shape
            assert ((times > 0) & (times <= 1)).all()
            assert times[u > getattr(density, "ends", 0.0)].diff().min() >= 0

    def test_a_rows_time_is_its_own(self, density: TimeDensity) -> None:
        u = torch.rand(64, generator=torch.Generator().manual_seed(0))
        assert torch.equal(density.times(u, Cosine())[5:6], density.times(u[5:6], Cosine()))


class WeightingContract:
    """Subclass it and give the fixture `weighting`."""

    @pytest.fixture(scope="class")
    @classmethod
    def weighting(cls) -> Weighting:
        raise NotImplementedError("give the fixture `weighting`")

    def test_it_is_the_same_for_every_kind_of_prediction(self, weighting: Weighting) -> None:
        """Weighted errors of one wrong prediction, said in all kinds: all the same number."""
        if not weighting.gaussian:
            return
        x0, x1, wrong = torch.randn(3, 1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        for path in PATHS:
            for time in (0.02, 0.4, 0.8, 0.97):
                t = torch.full((1, 1, 1), time, dtype=torch.float64)
                x_t = path.corrupt(x0, x1, t)
                found = []
                for kind in path.predictions:
                    factor = weighting.factor(path, kind, t)
                    assert factor is not None
                    error = path.convert(wrong, "data", x_t, t, kind) - path.target(kind, x0, x1, t)
                    found.append(float((factor * error.square()).mean()))
                assert found == pytest.approx([found[0]] * len(found), rel=1e-6)

    def test_it_is_finite_and_not_negative(self, weighting: Weighting) -> None:
        t = torch.linspace(1e-4, 1 - 1e-4, 50)
        for path in PATHS:
            for kind in path.predictions:
                factor = weighting.factor(path, kind, t)
                assert factor is None or (factor.isfinite() & (factor >= 0)).all(), (path.kind, kind)


class LossContract:
    """Subclass it and give the fixture `loss`."""

    @pytest.fixture(scope="class")
    @classmethod
    def loss(cls) -> Loss:
        raise NotImplementedError("give the fixture `loss`")

    def test_it_is_0_where_all_is_right_and_only_there(self, loss: Loss) -> None:
        right, wrong = torch.randn(2, 2, 5, 3, generator=torch.Generator().manual_seed(0))
        assert loss.of_tokens(right, right).abs().max() < 1e-6
        assert loss.of_tokens(wrong, right).shape == (2, 5)
        assert (loss.of_tokens(wrong, right) > 0).all()

    def test_it_grows_with_the_error(self, loss: Loss) -> None:
        right, wrong = torch.randn(2, 2, 5, 3, generator=torch.Generator().manual_seed(0))
        sizes = [float(loss.of_tokens(right + share * (wrong - right), right).sum()) for share in (0.0, 0.1, 0.5, 1.0, 3.0)]
        assert sizes == sorted(sizes)

    def test_a_token_pays_for_itself(self, loss: Loss) -> None:
        right, wrong = torch.randn(2, 2, 5, 3, generator=torch.Generator().manual_seed(0))
        assert torch.equal(loss.of_tokens(wrong, right)[1:, 2:3], loss.of_tokens(wrong[1:, 2:3], right[1:, 2:3]))


def meeting_of(rows: int = 12, classes: int = 2, step: int = 0, tokens: int = 6) -> Meeting:
    """Rows of two lengths and a few conditions."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.where(torch.arange(rows) % 3 == 0, tokens - 2, tokens)
    mask = torch.arange(tokens) < lengths[:, None]
    values = torch.randn(rows, tokens, 2, generator=generator) * mask[..., None]
    clean = State.of({"s": Stream.of(values, mask=mask)}, seeds=range(100, 100 + rows))
    vector = torch.nn.functional.one_hot(torch.arange(rows) % classes, classes).float()
    return Meeting(clean, {"s": mask}, lambda _, noise: noise, Condition(vector), step)


def part_of(meeting: Meeting, rows: list[int]) -> Meeting:
    """Some of its rows."""
    index = torch.tensor(rows)
    made = {name: each[index] for name, each in meeting.made.items()}
    condition = None if meeting.condition is None else meeting.condition.select(index)
    return Meeting(meeting.clean.select(index), made, meeting.prior, condition, meeting.step)


class CouplingContract:
    """Subclass it and give the fixture `coupling`."""

    @pytest.fixture(scope="class")
    @classmethod
    def coupling(cls) -> Coupling:
        raise NotImplementedError("give the fixture `coupling`")

    def test_prior_tokens_have_the_shape_of_the_clean_ones(self, coupling: Coupling) -> None:
        meeting = meeting_of()
        assert {name: x.shape for name, x in coupling.prior(meeting).items()} == {"s": meeting.clean["s"].values.shape}

    def test_it_is_a_function_of_seeds_and_step(self, coupling: Coupling) -> None:
        assert torch.equal(coupling.prior(meeting_of())["s"], coupling.prior(meeting_of())["s"])

    def test_alone_is_together_where_it_says_so(self, coupling: Coupling) -> None:
        together = coupling.prior(meeting_of())["s"]
        alone = torch.cat([coupling.prior(part_of(meeting_of(), [row]))["s"] for row in range(12)])
        assert torch.equal(alone, together) == coupling.alone
