"""What every path must hold to."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anylatent.paths.base import GaussianPath
from anylatent.spec import StreamSpec

INSIDE = st.floats(0.02, 0.98)


class PathContract:
    """Subclass it and give one fixture:

    class TestMine(PathContract):
        @pytest.fixture(scope="class")
        @classmethod
        def path(cls):
            return MyPath()
    """

    @pytest.fixture(scope="class")
    @classmethod
    def path(cls) -> GaussianPath:
        raise NotImplementedError("give the fixture `path`")

    @given(t=INSIDE, seed=st.integers(0, 1000))
    def test_conversions_round_trip(self, path: GaussianPath, t: float, seed: int) -> None:
        """Every kind of prediction converts to every other and back, and a perfect one of each kind means the same data."""
        x0, x1 = torch.randn(2, 1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        time = torch.full((1, 1, 1), t * path.start("noise"), dtype=torch.float64)
        x_t = path.corrupt(x0, x1, time)
        for kind in path.predictions:
            perfect = path.target(kind, x0, x1, time)
            torch.testing.assert_close(path.convert(perfect, kind, x_t, time, "data"), x0, atol=1e-8, rtol=1e-6)
            for to in path.predictions:
                there = path.convert(perfect, kind, x_t, time, to)
                torch.testing.assert_close(there, path.target(to, x0, x1, time), atol=1e-6, rtol=1e-6)
                torch.testing.assert_close(path.convert(there, to, x_t, time, kind), perfect, atol=1e-6, rtol=1e-6)

    @given(t=INSIDE)
    def test_derivatives_are_derivatives(self, path: GaussianPath, t: float) -> None:
        time = torch.tensor(t, dtype=torch.float64, requires_grad=True)
        for f, f_dot in ((path.alpha, path.alpha_dot), (path.sigma, path.sigma_dot)):
            value = f(time)
            slope = torch.autograd.grad(value, time)[0] if value.requires_grad else torch.zeros_like(time)
            torch.testing.assert_close(slope, f_dot(time.detach()), atol=1e-9, rtol=1e-9)

    def test_time_0_is_data_and_noise_only_grows(self, path: GaussianPath) -> None:
        t = torch.linspace(0, 1, 101, dtype=torch.float64)
        assert path.alpha(t[0]) == 1
        assert path.sigma(t[0]) == 0
        ratio = path.sigma(t[:-1]) / path.alpha(t[:-1])
        assert (ratio.diff() > 0).all()
        torch.testing.assert_close(path.time_of(ratio), t[:-1], atol=1e-9, rtol=1e-9)
        x0, x1 = torch.randn(2, 1, 4, 3)
        assert torch.equal(path.corrupt(x0, x1, torch.zeros(1, 1, 1)), x0)

    def test_the_preconditioned_target_has_unit_variance(self, path: GaussianPath) -> None:
        x0, x1 = torch.randn(2, 20_000, 1, 1, generator=torch.Generator().manual_seed(0))
        for t in (0.01, 0.3, 0.9):
            target = path.target("preconditioned", x0, x1, torch.full((1, 1, 1), t))
            assert abs(float(target.std()) - 1) < 0.02

    def test_a_centred_prior_has_no_mean_and_ignores_padding(self, path: GaussianPath) -> None:
        spec = StreamSpec(name="s", width=3, order="set", prior="normal_centred", centred=(1, 2))
        noise = torch.randn(2, 5, 3)
        mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
        prior = path.prior(spec, noise, mask)
        assert prior[..., 1:].sum(1).abs().max() < 1e-5
        assert torch.equal(prior[1, :3, 0], noise[1, :3, 0])
        torch.testing.assert_close(path.prior(spec, noise[1:, :3], mask[1:, :3]), prior[1:, :3])

    def test_priors_it_cannot_carry_are_refused(self, path: GaussianPath) -> None:
        assert path.refuses(StreamSpec(name="s", width=3)) is None
        assert "prior 'mask'" in (path.refuses(StreamSpec(name="s", kind="categorical", width=3, prior="mask")) or "")
