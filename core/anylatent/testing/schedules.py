"""What every schedule must hold to."""

import pytest
import torch

from anylatent.paths import EDM, Cosine, Path, Rectified
from anylatent.schedules import Schedule
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream

PATHS = [Rectified(), Cosine(), EDM()]


class ScheduleContract:
    """Subclass it and give one fixture:

    class TestMine(ScheduleContract):
        @pytest.fixture(scope="class")
        @classmethod
        def schedule(cls):
            return MySchedule()
    """

    @pytest.fixture(scope="class")
    @classmethod
    def schedule(cls) -> Schedule:
        raise NotImplementedError("give the fixture `schedule`")

    @pytest.mark.parametrize("start", [1.0, 0.4])
    @pytest.mark.parametrize("n", [1, 2, 3, 40])
    def test_times_go_from_the_start_to_0(self, schedule: Schedule, n: int, start: float) -> None:
        for path in PATHS:
            self._goes(schedule, path, n, start)

    def _goes(self, schedule: Schedule, path: Path, n: int, start: float) -> None:
        """n falling steps; of one that rises, n different ones, the others undone and made again."""
        times = schedule.times(n, path, start)
        assert times.dtype == torch.float64
        assert times[-1] == 0
        assert 0 < times[0] <= start
        assert (times <= times[0]).all()
        if schedule.rises:
            assert len(times) >= n + 1
            assert len(times.unique()) == n + 1
            assert (times[:-1] > 0).all()
        else:
            assert len(times) == n + 1
            assert (times.diff() < 0).all()

    def test_fewer_than_1_step_is_refused(self, schedule: Schedule) -> None:
        with pytest.raises(ValueError, match="at least 1 step, given 0"):
            schedule.times(0, Rectified())

    def test_times_of_tokens_are_a_rows_own(self, schedule: Schedule) -> None:
        """Alone or in a batch, whatever the padding; each token ends at 0 and has the steps that `times` promises or a delay of them."""
        spec = StreamSpec(name="s", width=2, axes=(AxisSpec(name="i", unit="1"),), order="sequence")
        mask = torch.arange(7) < torch.tensor([[3], [7]])
        positions = torch.arange(7.0)[None, :, None].expand(2, -1, -1)
        state = State.of({"s": Stream.of(torch.zeros(2, 7, 2), positions, mask)})
        together = schedule.token_times(5, Rectified(), 1.0, state["s"], spec)
        if together is None:
            return
        assert together.dtype == torch.float64
        assert together.shape[0] == 2
        assert together.shape[2] in (1, 7)
        assert (together[:, 0] > 0).all()
        assert (together[:, -1] == 0).all()
        alone = schedule.token_times(5, Rectified(), 1.0, state.select([0]).trimmed()["s"], spec)
        assert alone is not None
        steps, tokens = alone.shape[1:]
        assert torch.equal(together[:1, :steps, :tokens], alone)
        assert (together[0, steps:] == 0).all()
