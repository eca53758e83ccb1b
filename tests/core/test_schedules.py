from dataclasses import replace
from functools import partial

import pytest
import torch

from anylatent.condition import Condition
from anylatent.conditioners.base import Conditions
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.engine import Engine, Finished, Request, sample
from anylatent.known import Known
from anylatent.node import Node
from anylatent.paths import EDM, Path, Rectified
from anylatent.sampling import Sampling
from anylatent.schedules import (
    BetaSteps,
    ByLength,
    CosineSteps,
    LogitNormal,
    Pyramid,
    Resample,
    Restart,
    Rho,
    Rise,
    Schedule,
    Table,
    Uniform,
    searched,
)
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.dpm import DPMSolver
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.euler import Euler
from anylatent.solvers.heun import Heun
from anylatent.solvers.invertible import EDICT
from anylatent.solvers.langevin import Langevin
from anylatent.solvers.runge_kutta import RungeKutta
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.oracles import MixtureOracle
from anylatent.testing.schedules import ScheduleContract

SCHEDULES = [
    Uniform(), Uniform(shift=3), Rho(), Rho(rho=1, ratio_max=10), LogitNormal(), LogitNormal(mean=-0.5, std=1.5, shift=2),
    CosineSteps(), BetaSteps(), BetaSteps(prior=2, data=0.5), Table(), Table(knots=(1, 0.5, 0.1), unit="time"),
    Restart(), Restart(of=Rho(), intervals=(Rise(low=0.05, high=0.2, repeats=3), Rise(low=0.5, high=0.9))), Resample(),
    Resample(jump=3, repeats=4), ByLength(tokens=4), ByLength(of=Restart(), tokens=9), Pyramid(), Pyramid(lag=9, block=2),
]  # fmt: skip


class TestCoreSchedules(ScheduleContract):
    @pytest.fixture(scope="class", params=SCHEDULES, ids=Node.key)
    @classmethod
    def schedule(cls, request: pytest.FixtureRequest) -> Schedule:
        return request.param


def test_only_rho_and_tables_begin_below_the_start() -> None:
    for schedule in SCHEDULES:
        if not isinstance(getattr(schedule, "of", schedule), Rho | Table) and not isinstance(schedule, Rho | Table):
            assert schedule.times(6, Rectified(), 0.4)[0] == 0.4


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


@pytest.mark.parametrize(("data", "prior"), [(0.6, 0.6), (0.5, 2.0), (3.0, 1.0), (1.0, 1.0), (10.0, 2.0), (10.0, 10.0)])
def test_beta_times_are_quantiles(data: float, prior: float) -> None:
    from scipy.stats import beta

    times = BetaSteps(data=data, prior=prior).times(20, Rectified())
    expected = torch.from_numpy(beta.ppf(torch.linspace(1, 0, 21, dtype=torch.float64).numpy(), data, prior))
    torch.testing.assert_close(times, expected, atol=1e-9, rtol=1e-9)


def test_neutral_schedules_are_the_schedule_inside() -> None:
    base = Uniform(shift=2).times(8, Rectified(), 0.9)
    for schedule in (
        Restart(of=Uniform(shift=2), intervals=()), Restart(of=Uniform(shift=2), intervals=(Rise(repeats=0),)),
        Resample(of=Uniform(shift=2), repeats=1),
    ):  # fmt: skip
        assert torch.equal(schedule.times(8, Rectified(), 0.9), base)
    stream = Stream.of(torch.zeros(2, 6, 1), torch.arange(6.0)[None, :, None].expand(2, -1, -1))
    spec = StreamSpec(name="s", width=1, axes=(AxisSpec(name="i", unit="1"),))
    assert Pyramid(lag=0).token_times(8, Rectified(), 0.9, stream, spec) is None
    same = ByLength(of=Uniform(shift=2), tokens=6).token_times(8, Rectified(), 0.9, stream, spec)
    assert torch.equal(same, base[None, :, None].expand(2, -1, 1))
    torch.testing.assert_close(BetaSteps(data=1, prior=1).times(8, Rectified()), Uniform().times(8, Rectified()))


def test_length_shifts_by_the_root_of_the_number_of_tokens() -> None:
    mask = torch.arange(16) < torch.tensor([[4], [16]])
    stream = Stream.of(torch.zeros(2, 16, 1), mask=mask)
    times = ByLength(tokens=4).token_times(5, Rectified(), 1.0, stream, StreamSpec(name="s", width=1))
    assert torch.equal(times[0, :, 0], Uniform().times(5, Rectified()))
    torch.testing.assert_close(times[1, :, 0], Uniform(shift=2).times(5, Rectified()))


def test_tables_are_their_knots_and_log_linear_between() -> None:
    knots = (16.0, 4.0, 1.0, 0.25)
    path = EDM(sigma_max=80)
    torch.testing.assert_close(path.sigma(Table(knots=knots).times(4, path)), torch.tensor([*knots, 0.0], dtype=torch.float64))
    between = path.sigma(Table(knots=knots).times(7, path))
    torch.testing.assert_close(between, torch.tensor([16, 8, 4, 2, 1, 0.5, 0.25, 0], dtype=torch.float64))
    # From a start in the middle of the curve, the rest of it.
    late = path.sigma(Table(knots=knots).times(3, path, float(path.time_of(torch.tensor(4.0, dtype=torch.float64)))))
    torch.testing.assert_close(late, torch.tensor([4, 1, 0.25, 0], dtype=torch.float64))


def repaint(steps: int, jump: int, samples: int) -> list[int]:
    """The visited states as RePaint's authors list them (their states 0 … steps - 1 and -1 for the data), one step up at a time."""
    jumps = dict.fromkeys(range(0, steps - jump, jump), samples - 1)
    t, found = steps, []
    while t >= 1:
        t -= 1
        found.append(t)
        if jumps.get(t, 0) > 0:
            jumps[t] -= 1
            for _ in range(jump):
                t += 1
                found.append(t)
    return [*found, -1]


@pytest.mark.parametrize(("steps", "jump", "samples"), [(20, 5, 3), (9, 2, 2), (7, 1, 4)])
def test_resampling_visits_what_repaint_visits(steps: int, jump: int, samples: int) -> None:
    times = Resample(jump=jump, repeats=samples).times(steps, Rectified())
    visited = [round(t * steps) - 1 for t in times.tolist()]
    theirs = repaint(steps, jump, samples)
    # Theirs, with climbs in one: what is neither between two steps up nor before the first denoised state.
    merged = [t for i, t in enumerate(theirs) if not (0 < i < len(theirs) - 1 and theirs[i - 1] < t < theirs[i + 1])]
    assert visited == merged


def test_restart_makes_the_steps_of_its_interval_again() -> None:
    times = Restart(intervals=(Rise(low=0.2, high=0.5, repeats=2),)).times(10, Rectified())
    expected = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.5, 0.4, 0.3, 0.2, 0.5, 0.4, 0.3, 0.2, 0.1, 0]
    torch.testing.assert_close(times, torch.tensor(expected, dtype=torch.float64))


def test_a_pyramid_delays_each_block() -> None:
    positions = torch.tensor([0.5, 0.5, 1.5, 1.5, 2.5, 2.5])[None, :, None]
    spec = StreamSpec(name="s", width=1, axes=(AxisSpec(name="t", unit="s"),))
    times = Pyramid(lag=2).token_times(3, Rectified(), 1.0, Stream.of(torch.zeros(1, 6, 1), positions), spec)[0]
    expected = Uniform().times(3, Rectified())
    for token, delay in enumerate((0, 0, 2, 2, 4, 4)):
        assert (times[: delay + 1, token] == 1).all()
        assert torch.equal(times[delay : delay + 4, token], expected)
        assert (times[delay + 3 :, token] == 0).all()


def request_of(oracle: MixtureOracle, schedule: Schedule, solver: Solver, steps: int, seeds: int) -> Request:
    condition = Condition(torch.ones(seeds, len(oracle.weights)))
    return Request(oracle.layout(range(seeds)), condition, Sampling(steps=steps, schedule=schedule, solver=solver))


def test_restart_forgets_a_wrong_beginning() -> None:
    """Prior tokens that are all too low by 1 make too few of the upper atom; noised again, samples have the right share of it."""
    oracle = MixtureOracle.atoms(Rectified(), torch.tensor([[[1.0]], [[-1.0]]]), torch.tensor([0.8, 0.2]))
    shares = []
    for schedule in (Uniform(), Restart(intervals=(Rise(low=0.3, high=0.9, repeats=4),))):
        request = request_of(oracle, schedule, Euler(), 10, 400)
        wrong = request.state.noise("tokens", -1, 0) - 1
        made, _ = sample(oracle, replace(request, known=Known(prior={"tokens": wrong})), rows=400)
        shares.append(float((made["tokens"].values > 0).float().mean()))
    assert shares[0] < 0.55, "a wrong beginning does no harm: the test shows nothing"
    assert abs(shares[1] - 0.8) < 3 * (0.8 * 0.2 / 400) ** 0.5


def by_hand(oracle: MixtureOracle, state: State, times: torch.Tensor) -> torch.Tensor:
    """DDIM through `times` `(rows, steps + 1)` of a row each: down by its formula, up by fresh noise of the step, still where they rest."""
    path = oracle.gaussian
    x = path.corrupt(torch.zeros(()), state.noise("tokens", -1, 0), times[:, :1, None])
    for i in range(times.shape[1] - 1):
        t, s = times[:, i, None, None], times[:, i + 1, None, None]
        data = oracle.posterior_mean(x, t, torch.ones(len(x), len(oracle.weights)))
        down = path.alpha(s) * data + path.sigma(s) / path.sigma(t) * (x - path.alpha(t) * data)
        kept = path.alpha(s) / path.alpha(t)
        up = kept * x + (path.sigma(s) ** 2 - (kept * path.sigma(t)) ** 2).clamp(min=0).sqrt() * state.noise("tokens", i, 0, "rising")
        x = torch.where(s < t, down, torch.where(s > t, up, x))
    return x


RISING = Restart(intervals=(Rise(low=0.2, high=0.5, repeats=2),))


@pytest.mark.parametrize(
    "schedule", [RISING, Resample(), ByLength(tokens=2), ByLength(of=RISING, tokens=2), Table(), CosineSteps(), BetaSteps()], ids=Node.key
)
def test_the_engine_makes_every_schedule(schedule: Schedule) -> None:
    """Rises, shifts by row and all: each sample is the one that the schedule's times say, and the receipt counts falls and rises."""
    means = torch.randn(2, 4, 1, generator=torch.Generator().manual_seed(0))
    oracle = MixtureOracle(Rectified(), torch.ones(2) / 2, means, torch.ones(2) / 2)
    request = request_of(oracle, schedule, DDIM(), 10, 3)
    made, receipts = sample(oracle, request)
    own = schedule.token_times(10, Rectified(), 1.0, request.state["tokens"], oracle.specs[0])
    times = schedule.times(10, Rectified())[None].expand(3, -1) if own is None else own[..., 0]
    torch.testing.assert_close(made["tokens"].values, by_hand(oracle, request.state, times.float()), atol=1e-5, rtol=1e-5)
    for row in range(3):
        assert receipts["engine"].rows[row]["network_calls"] == (times[row].diff() < 0).sum()
        renoised = receipts[schedule.kind].rows[row]["renoised"] if schedule.rises else 0
        assert renoised == (times[row].diff() > 0).sum()


COUNTED: list[tuple[Schedule, Solver, int, dict[str, dict[str, float]]]] = [
    (Uniform(), Heun(), 6, {"engine": {"network_calls": 11}}),
    (Uniform(), RungeKutta(), 6, {"engine": {"network_calls": 21}}),
    (Uniform(), DPMSolver(order=3), 6, {"engine": {"network_calls": 14}}),  # one from infinite noise, one to t = 0
    (Uniform(), EDICT(), 6, {"engine": {"network_calls": 12}}),
    (Uniform(), Langevin(steps=2), 6, {"engine": {"network_calls": 16}, "langevin": {"steps": 10}}),
    (RISING, DPMpp2M(), 10, {"engine": {"network_calls": 16}, "restart": {"renoised": 2}}),
    (RISING, Heun(), 10, {"engine": {"network_calls": 31}, "restart": {"renoised": 2}}),
    (RISING, Langevin(), 10, {"engine": {"network_calls": 31}, "restart": {"renoised": 2}, "langevin": {"steps": 15}}),
    (Resample(jump=2, repeats=2), Euler(), 6, {"engine": {"network_calls": 10}, "resample": {"renoised": 2}}),
    (Resample(jump=1, repeats=3), Ancestral(), 4, {"engine": {"network_calls": 10}, "resample": {"renoised": 6}}),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "solver", "steps", "expected"), COUNTED, ids=lambda value: getattr(value, "kind", ""))
def test_receipts_are_exact(schedule: Schedule, solver: Solver, steps: int, expected: dict[str, dict[str, float]]) -> None:
    """Of each row: calls of the network, rises, and what the solver says that it did."""
    oracle = MixtureOracle.gauss(Rectified(), torch.full((2, 1), 0.5), 0.5)
    _, receipts = sample(oracle, request_of(oracle, schedule, solver, steps, 3))
    assert oracle.calls == 3 * expected["engine"]["network_calls"]
    assert set(receipts) == set(expected)
    for method, counts in expected.items():
        for row in range(3):
            found = {name: count for name, count in receipts[method].rows[row].items() if name != "tokens"}
            assert found == counts, method


def inverted(oracle: MixtureOracle, request: Request) -> list[Finished]:
    engine = Engine(oracle)
    engine.add(replace(request, inverted=True))
    return sorted(engine.stream(), key=lambda finished: finished.row)


def test_a_schedule_that_rises_goes_back_along_its_falls() -> None:
    """What rises is not undone: samples are taken to the noise that the flow takes them to, as by the schedule inside, and come back."""
    oracle = MixtureOracle.gauss(Rectified(), torch.full((4, 2), 0.3), 0.5)
    state = oracle.layout(range(8))
    exact = state.noise("tokens", 0, 0, "data")
    state = state.with_values({"tokens": 0.3 + 0.5 * exact})
    request = replace(request_of(oracle, RISING, DDIM(), 40, 8), state=state)
    plain = replace(request, sampling=request.sampling.model_copy(update={"schedule": RISING.of}))
    noise = torch.cat([each.state["tokens"].values for each in inverted(oracle, request)])
    torch.testing.assert_close(noise, torch.cat([each.state["tokens"].values for each in inverted(oracle, plain)]), atol=1e-6, rtol=0)
    torch.testing.assert_close(noise, exact, atol=0, rtol=0.06)
    again, _ = sample(oracle, replace(plain, known=Known(begun={"tokens": noise})))
    torch.testing.assert_close(again["tokens"].values, state["tokens"].values, atol=0.12, rtol=0)


class Apart(Denoiser):
    """Tokens that know nothing of each other: each N(2, 0.5^2), at its own time."""

    def __init__(self, spec: StreamSpec) -> None:
        super().__init__(
            DiTConfig(depth=1, width=8, heads=1).build((spec,), False), Conditions(8, {}), {"s": Corruption(Rectified(), "data")}
        )

    def forward(self, state, condition, sites=None, modulations=None):
        x, t = state["s"].values, state["s"].time[..., None]
        return {"s": 2 + (1 - t) * 0.25 / ((1 - t) ** 2 * 0.25 + t**2) * (x - (1 - t) * 2)}


def test_a_pyramid_changes_nothing_for_tokens_that_know_nothing_of_each_other() -> None:
    """Each makes its own steps, only later; rows of fewer tokens are done sooner; calls are counted."""
    spec = StreamSpec(name="s", width=2, axes=(AxisSpec(name="t", unit="s"),))
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    state = State.of({"s": Stream.of(torch.zeros(2, 6, 2), torch.arange(6.0)[None, :, None].expand(2, -1, -1), mask)}, [3, 4])
    made, calls = {}, {}
    for lag in (0, 1, 9):
        sampling = Sampling(steps=9, solver=DPMpp2M(), schedule=Pyramid(lag=lag, block=2))
        made[lag], receipts = sample(Apart(spec), Request(state, Condition(torch.zeros(2, 8)), sampling))
        calls[lag] = [receipts["engine"].rows[row]["network_calls"] for row in (0, 1)]
    for lag in (1, 9):
        torch.testing.assert_close(made[lag]["s"].values, made[0]["s"].values, atol=1e-5, rtol=1e-5)
    assert calls == {0: [9, 9], 1: [11, 10], 9: [27, 18]}


def test_search_finds_better_times_and_never_worse() -> None:
    """The distance to many steps, of a mixture, at 5 Euler steps; held-out seeds."""
    oracle = MixtureOracle(Rectified(), torch.ones(3), torch.tensor([-3.0, 0.5, 3.0]).view(3, 1, 1).expand(-1, 2, 1), torch.full((3,), 0.3))

    def made(schedule: Schedule, steps: int, seeds: range) -> torch.Tensor:
        request = Request(
            oracle.layout(seeds), Condition(torch.ones(len(seeds), 3)), Sampling(steps=steps, schedule=schedule, solver=Euler())
        )
        return sample(oracle, request)[0]["tokens"].values

    def table(times: torch.Tensor) -> Table:
        return Table(knots=tuple(times[:-1].tolist()), unit="time")

    def error(fine: torch.Tensor, seeds: range, times: torch.Tensor) -> float:
        return float((made(table(times), len(times) - 1, seeds) - fine).square().mean())

    seen, unseen = range(48), range(1000, 1064)
    begin = Uniform().times(5, Rectified())
    measure = partial(error, made(Uniform(), 80, seen), seen)
    found = searched(measure, begin, rounds=2)
    assert (found.diff() < 0).all()
    assert found[0] == 1
    assert found[-1] == 0
    measure_unseen = partial(error, made(Uniform(), 80, unseen), unseen)
    assert measure_unseen(found) < 0.8 * measure_unseen(begin)
    assert torch.equal(searched(lambda times: 1.0, begin), begin)


def test_what_cannot_be_is_refused() -> None:
    class Jump(Path, kind="jump"):
        """A path without noise levels."""

    with pytest.raises(ValueError, match="schedule 'edm' spaces noise-to-signal ratios; the path 'jump' has none: use 'uniform'"):
        Rho().times(4, Jump())
    with pytest.raises(ValueError, match="schedule 'table' has ratios, and the path 'jump' has none: give times, with `unit: time`"):
        Table().times(4, Jump())
    assert len(Table(knots=(1, 0.5), unit="time").times(4, Jump())) == 5
    with pytest.raises(ValueError, match=r"has the time 80.0: times are between 0 and 1"):
        Table(unit="time").times(4, Rectified())
    with pytest.raises(ValueError, match=r"the knots of a schedule fall and stay above 0, given \[1.0, 2.0\]"):
        Table(knots=(1, 2))
    with pytest.raises(ValueError, match=r"a rise of a restart goes up: its low 0.5 is not below its high 0.2"):
        Rise(low=0.5, high=0.2)
    with pytest.raises(ValueError, match="schedule 'restart' goes up from a schedule that falls, given 'resample', which rises itself"):
        Restart(of=Resample())
    with pytest.raises(ValueError, match="schedule 'pyramid' delays a schedule that falls, given 'restart', which rises"):
        Pyramid(of=Restart())
    stream = Stream.of(torch.zeros(1, 4, 1), torch.zeros(1, 4, 1))
    spec = StreamSpec(name="s", width=1, axes=(AxisSpec(name="x", unit="px"),))
    with pytest.raises(ValueError, match=r"schedule 'pyramid' goes along the axes \['t'\]: the tokens have \['x'\]"):
        Pyramid(axis="t").token_times(4, Rectified(), 1.0, stream, spec)
    assert Pyramid(axis="t").token_times(4, Rectified(), 1.0, stream, spec.model_copy(update={"axes": ()})) is None
