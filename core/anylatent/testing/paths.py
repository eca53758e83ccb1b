"""What every path must hold to."""

import pytest
import torch
from hypothesis import given, settings
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

    @settings(max_examples=3)
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

    def test_conversions_hold_in_single_precision(self, path: GaussianPath) -> None:
        """To what the conversion must magnify of x_t's own rounding: 1e-5 of it at most."""
        x0, x1 = torch.randn(2, 1, 4, 3, generator=torch.Generator().manual_seed(0))
        for t in (0.05, 0.3, 0.6, 0.95):
            time = torch.full((1, 1, 1), t)
            x_t = path.corrupt(x0, x1, time)
            for kind in path.predictions:
                data = path.convert(path.target(kind, x0, x1, time), kind, x_t, time, "data")
                assert float((data - x0).abs().max()) < 1e-5 * (1 + float(path.sigma(time) / path.alpha(time)))

    @settings(max_examples=8)
    @given(t=INSIDE)
    def test_a_wrong_prediction_means_data_as_wrong_as_it_says(self, path: GaussianPath, t: float) -> None:
        """`sensitivity` is how far a prediction of a kind moves when the data it implies moves by 1."""
        time = torch.full((1, 1, 1), t * path.start("noise"), dtype=torch.float64)
        x_t, data = torch.randn(2, 1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        for kind in path.predictions:
            moved = path.convert(data + 1, "data", x_t, time, kind) - path.convert(data, "data", x_t, time, kind)
            torch.testing.assert_close(moved.abs(), path.sensitivity(kind, time).expand_as(moved), atol=1e-6, rtol=1e-6)

    @settings(max_examples=8)
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

    def test_all_is_finite_where_sampling_begins(self, path: GaussianPath) -> None:
        for kind in path.predictions:
            start = torch.full((1, 1, 1), path.start(kind))
            prediction, x = torch.randn(2, 1, 4, 3, generator=torch.Generator().manual_seed(0))
            assert path.convert(prediction, kind, x, start).isfinite().all(), kind

    @settings(max_examples=8)
    @given(times=st.tuples(INSIDE, INSIDE, INSIDE))
    def test_noising_again_is_noising_at_once(self, path: GaussianPath, times: tuple[float, float, float]) -> None:
        """x_s noised from x_t has the marginal of time s, and two jumps have the law of one."""
        t, r, s = (torch.full((1, 1, 1), each, dtype=torch.float64) for each in sorted(times))
        one, zero = torch.ones(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64)

        def jump(t: torch.Tensor, s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            """What multiplies the tokens, and the variance that is added."""
            return path.renoise(one, t, s, zero), path.renoise(zero, t, s, one) ** 2

        kept, added = jump(t, s)
        torch.testing.assert_close(kept * path.alpha(t), path.alpha(s), atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(kept**2 * path.sigma(t) ** 2 + added, path.sigma(s) ** 2, atol=1e-12, rtol=1e-9)
        (first, early), (second, late) = jump(t, r), jump(r, s)
        torch.testing.assert_close(second * first, kept, atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(second**2 * early + late, added, atol=1e-12, rtol=1e-9)

    def test_noising_again_is_exact_at_the_ends(self, path: GaussianPath) -> None:
        x, noise = torch.randn(2, 1, 4, 3, generator=torch.Generator().manual_seed(0))
        zero, half, start = (torch.full((1, 1, 1), t) for t in (0.0, 0.5, path.start("data")))
        assert torch.equal(path.renoise(x, zero, half, noise), path.corrupt(x, noise, half))
        assert torch.equal(path.renoise(x, zero, start, noise), path.corrupt(x, noise, start))
        for t in (zero, half, start):
            assert torch.equal(path.renoise(x, t, t, noise), x)
        assert path.renoise(x, half, start, noise).isfinite().all()

    def test_the_preconditioned_target_has_unit_variance(self, path: GaussianPath) -> None:
        x0, x1 = torch.randn(2, 20_000, 1, 1, generator=torch.Generator().manual_seed(0))
        for t in (0.01, 0.3, 0.9):
            target = path.target("preconditioned", x0, x1, torch.full((1, 1, 1), t))
            assert abs(float(target.std()) - 1) < 0.02

    def test_a_network_sees_tokens_of_size_1(self, path: GaussianPath) -> None:
        x0, x1, source = torch.randn(3, 20_000, 1, 1, generator=torch.Generator().manual_seed(0))
        source = source if path.partner() else None
        for t in (0.0, 0.01, 0.5, 0.99, path.start("data")):
            time = torch.full((1, 1, 1), t)
            seen = path.shown(path.corrupt(x0, x1, time), time, source)
            assert 0.5 < float(seen.std()) < 1.5, t

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
