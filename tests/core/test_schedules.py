import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anylatent.node import Node
from anylatent.paths import EDM, Cosine, Rectified
from anylatent.paths.base import Path
from anylatent.schedules import LogitNormal, Rho, Schedule, Uniform

SCHEDULES = [Uniform(), Uniform(shift=3), Rho(), Rho(rho=1, ratio_max=10), LogitNormal(), LogitNormal(mean=-0.5, std=1.5, shift=2)]
PATHS = [Rectified(), Cosine(), EDM()]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.kind)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=Node.key)
@given(n=st.integers(1, 60), start=st.sampled_from([1.0, 0.995, 0.4]))
def test_times_fall_from_the_start_to_0(schedule: Schedule, path: Path, n: int, start: float) -> None:
    times = schedule.times(n, path, start)
    assert len(times) == n + 1
    assert (times.diff() < 0).all()
    assert times[-1] == 0
    assert 0 < times[0] <= start
    if not isinstance(schedule, Rho):
        assert times[0] == start


def test_rho_gives_the_noise_levels_of_edm() -> None:
    """Karras et al. 2022, 2206.00364, eq. 5, term by term."""
    n, rho, low, high = 18, 7.0, 0.002, 80.0
    expected = [(high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)]
    sigmas = EDM(sigma_max=80).sigma(Rho().times(n, EDM(sigma_max=80)))
    torch.testing.assert_close(sigmas, torch.tensor([*expected, 0.0], dtype=torch.float64), atol=1e-9, rtol=1e-9)


def test_shift_is_the_published_warp() -> None:
    times = Uniform(shift=3).times(4, Rectified())
    expected = [3 * t / (1 + 2 * t) for t in (1, 0.75, 0.5, 0.25, 0)]
    torch.testing.assert_close(times, torch.tensor(expected, dtype=torch.float64))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 step, given 0"):
        Uniform().times(0, Rectified())

    class Jump(Path, kind="jump"):
        """A path without noise levels."""

    with pytest.raises(ValueError, match="schedule 'edm' spaces noise-to-signal ratios; the path 'jump' has none: use 'uniform'"):
        Rho().times(4, Jump())
