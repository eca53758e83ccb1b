"""Intervals hold what they promise: simulated coverage near 95 %."""

import pytest
import torch

from anylatent.metrics.intervals import bootstrap, mean_interval, resamples, wilson


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.95])
def test_wilson_covers_the_true_proportion(share):
    """Exactly: the binomial probability of the counts whose interval holds the truth, over n."""
    for n in (20, 64, 500):
        counts = torch.distributions.Binomial(n, torch.tensor(share, dtype=torch.float64))
        coverage = sum(
            float(counts.log_prob(torch.tensor(float(k))).exp()) for k in range(n + 1) if wilson(k, n)[0] <= share <= wilson(k, n)[1]
        )
        assert 0.90 <= coverage <= 1.0, (n, coverage)


def test_wilson_at_the_ends_against_published_numbers():
    """0 of 10: upper end 0.2775 (Newcombe 1998, table I, method 3: 0/20 gives 0.1611); 15 of 148: 0.0624 to 0.1605."""
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(20, 20)[1] == 1.0


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 5), (0, 0)])
def test_wilson_refuses_what_is_no_proportion(successes, n):
    with pytest.raises(ValueError, match=rf"needs 0 <= successes <= n and n >= 1, given {successes} of {n}"):
        wilson(successes, n)


def test_the_mean_interval_covers_the_mean():
    draws = torch.distributions.Exponential(torch.tensor(1.0)).icdf(torch.rand(200, 50, generator=torch.Generator().manual_seed(0)))
    held = sum(low <= 1 <= high for low, high in (mean_interval(x, seed, rounds=200) for seed, x in enumerate(draws)))
    assert 0.87 <= held / 200 <= 0.99


def test_bootstrap_is_a_function_of_its_seed():
    x = torch.randn(40, generator=torch.Generator().manual_seed(1))
    mean = lambda values: float(values.mean())  # noqa: E731 - a name for both calls
    assert bootstrap(mean, (x,), seed=3) == bootstrap(mean, (x,), seed=3) != bootstrap(mean, (x,), seed=4)
    below, above = bootstrap(mean, (x,), seed=3, rounds=1000)
    assert below == pytest.approx(1.96 * float(x.std()) / 40**0.5, rel=0.15)
    assert above == pytest.approx(1.96 * float(x.std()) / 40**0.5, rel=0.15)


def test_resamples_use_every_index_equally():
    counts = torch.stack(list(resamples(10, 2000, "x"))).flatten().bincount(minlength=10)
    assert counts.sum() == 20_000
    assert (counts - 2000).abs().max() < 5 * (20_000 * 0.1 * 0.9) ** 0.5
