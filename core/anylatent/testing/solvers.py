"""What every solver must hold to."""

import math
import re
from collections.abc import Callable

import pytest
import torch

from anylatent.energies import Energy
from anylatent.engine import Engine, Request, sample
from anylatent.paths.base import GaussianPath
from anylatent.paths.vocabulary import Masked
from anylatent.sampling import Sampling
from anylatent.schedules import Rho, Schedule, Uniform
from anylatent.solvers.base import Memory, Move, Noise, Solver, Steps, uncounted
from anylatent.spec import StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.oracles import MixtureOracle
from anylatent.types import Float, Tensor

Predict = Callable[[Tensor, Tensor], Tensor]
"""The clean tokens of (x, t)."""


def finished(steps: Steps, predict: Predict) -> tuple[Tensor, Memory]:
    """What a step returns when its questions are answered."""
    query = next(steps)
    while True:
        try:
            query = steps.send(predict(query.x, query.t))
        except StopIteration as stop:
            return stop.value


def moves(solver: Solver, path: GaussianPath, times: Tensor, x: Tensor, noise: Callable[[int, int], Tensor] | None = None) -> list[Move]:
    """The steps through `times` `(steps + 1,)` or `(steps + 1, N)` for `x`; no noise if none is given.

    `noise(step, draw)`: draws of a step are counted as they are first asked for, whatever their purpose.
    """
    rows, table = len(x), solver.table(path, times).to(x.dtype)
    table = table if times.dim() > 1 else table[:, None]
    at = times.reshape(len(times), 1, -1, 1).expand(-1, rows, -1, 1)

    def drawn(i: int) -> Noise:
        known: dict[tuple[int, str], int] = {}

        def own(draw: int, purpose: str = "") -> Tensor:
            return torch.zeros_like(x) if noise is None else noise(i, known.setdefault((draw, purpose), len(known)))

        return own

    return [
        Move(path, at[i], at[i + 1], numbers.expand(rows, *numbers.shape), drawn(i), uncounted, judged) for i, numbers in enumerate(table)
    ]


def judged(energy: Energy, x: Tensor, rows: Tensor) -> Tensor:
    """The energy of predicted tokens that are all there is."""
    found = energy.of_state(State.of({"tokens": Stream.of(x)}), [StreamSpec(name="tokens", width=x.shape[2])])
    return found.where(rows, torch.inf)


def walk(
    solver: Solver,
    oracle: MixtureOracle,
    x: Float[Tensor, "rows tokens width"],
    times: Float[Tensor, "times *tokens"],
    *,
    noise: Callable[[int, int], Tensor] | None = None,
    predict: Predict | None = None,
    memory: Memory | None = None,
) -> Tensor:
    """`x` taken through `times` by the solver, in the precision of `x`, without noise if none is given."""
    predict = predict or (lambda x, t: oracle.posterior_mean(x, t, torch.ones(len(x), len(oracle.weights))))
    memory = solver.memory(x) if memory is None else memory
    for move in moves(solver, oracle.gaussian, times, x, noise):
        x, memory = finished(solver.step(x, memory, move), predict)
    return x


def back(solver: Solver, oracle: MixtureOracle, x: Float[Tensor, "rows tokens width"], times: Float[Tensor, " times"]) -> Tensor:
    """`x`, which is at the last of `times`, taken to the first by the solver's way back."""
    memory, chosen = solver.memory(x), torch.ones(len(x), len(oracle.weights))
    for move in reversed(moves(solver, oracle.gaussian, times, x)):
        x, memory = finished(solver.unstep(x, memory, move), lambda x, t: oracle.posterior_mean(x, t, chosen))
    return x


def moments(solver: Solver, oracle: MixtureOracle, times: Float[Tensor, " times"], draws: int = 4) -> tuple[Tensor, Tensor]:
    """Mean and variance `(tokens, width)` of what the solver makes of one Gaussian's prior in these steps, without sampling.

    Its tokens are then affine in its start and its noise: row 0 has none of them, each other row one.
    """
    steps, size = len(times) - 1, oracle.means.shape[1:]
    rows = 2 + steps * draws
    x = torch.zeros(rows, *size, dtype=torch.float64)
    x[1] = 1
    start = oracle.gaussian.alpha(times[0]) * oracle.means[0].double()
    spread = ((oracle.gaussian.alpha(times[0]) * oracle.stds[0].double()) ** 2 + oracle.gaussian.sigma(times[0]) ** 2).sqrt()

    def noise(step: int, draw: int) -> Tensor:
        assert draw < draws, "more draws a step than were counted on"
        out = torch.zeros(rows, *size, dtype=torch.float64)
        out[2 + step * draws + draw] = 1
        return out

    made = walk(solver, oracle, start + spread * x, times, noise=noise)
    return made[0], (made[1:] - made[0]).square().sum(0)


def between(schedule: Schedule, path: GaussianPath, n: int) -> Float[Tensor, " times"]:
    """The spacing of the middle half of a schedule's 2n steps, from the noise-to-signal ratio 1.5 to 0.6; n is even.

    Away from both ends: there solvers may lower their order, and some schedules have steps that do not shrink as 1 / n (quantiles of a
    normal distribution, the step from a lowest ratio to 0).
    """
    high, low = (path.time_of(torch.tensor(ratio, dtype=torch.float64)) for ratio in (1.5, 0.6))
    times = schedule.times(2 * n, path)[n // 2 : n // 2 + n + 1]
    return low + (times - times[-1]) / (times[0] - times[-1]) * (high - low)


def _warmed(times: Tensor) -> Tensor:
    """The first step made in small ones that double: a solver whose order is lower without a past has one after it."""
    first = times[0] + times.diff()[0] * 2.0 ** -torch.arange(10, 0, -1)
    return torch.cat((times[:1], first, times[1:]))


def _error(solver: Solver, path: GaussianPath, times: Tensor) -> float:
    """Against the exact flow of a mixture, from many starts."""
    means, stds = torch.tensor([[[-1.0]], [[0.5]]], dtype=torch.float64), torch.tensor([0.4, 0.7], dtype=torch.float64)
    oracle = MixtureOracle(path, torch.tensor([0.4, 0.6]), means, stds)
    x = path.alpha(times[0]) * 0.2 + torch.linspace(-1.5, 1.5, 16, dtype=torch.float64)[:, None, None] * path.sigma(times[0])
    error = walk(solver, oracle, x, times) - oracle.flow(x, times[0], times[-1])
    return float(error.square().sum()) ** 0.5


def _weak_error(solver: Solver, path: GaussianPath, times: Tensor) -> float:
    """Of the mean and variance of Gaussians: several, because the error of one may change its sign and vanish."""
    total = 0.0
    for std in torch.tensor([0.3, 0.6, 1.5], dtype=torch.float64):
        oracle = MixtureOracle.gauss(path, torch.full((1, 1), 0.7, dtype=torch.float64), float(std))
        mean, variance = moments(solver, oracle, times, draws=2)
        alpha, sigma = path.alpha(times[-1]), path.sigma(times[-1])
        exact = (alpha * oracle.stds.double()) ** 2 + sigma**2
        total += float((mean - alpha * oracle.means).square().sum() + (variance - exact).square().sum())
    return total**0.5


class SolverContract:
    """Subclass it and give two fixtures, the solver and the paths that it is for:

    class TestMine(SolverContract):
        @pytest.fixture(scope="class", params=[Rectified(), Cosine(), EDM()], ids=lambda path: path.kind)
        @classmethod
        def path(cls, request):
            return request.param

        @pytest.fixture(scope="class")
        @classmethod
        def solver(cls):
            return MySolver()
    """

    @pytest.fixture(scope="class")
    @classmethod
    def solver(cls) -> Solver:
        raise NotImplementedError("give the fixture `solver`")

    @pytest.fixture(scope="class")
    @classmethod
    def path(cls) -> GaussianPath:
        raise NotImplementedError("give the fixture `path`")

    @pytest.fixture(scope="class", params=[Uniform(), Rho(rho=3)], ids=["uniform", "rho"])
    @classmethod
    def schedule(cls, request: pytest.FixtureRequest) -> Schedule:
        return request.param

    def test_its_order_is_the_one_it_declares(self, solver: Solver, path: GaussianPath, schedule: Schedule) -> None:
        """error ~ steps^-order, within 0.3 (stochastic ones: or better), in float64 between fixed times inside (0, 1).

        From a cold start, unless it declares that it is of a lower order there.
        """
        if solver.order == 0:
            pytest.skip("its bias does not vanish")
        measured = _weak_error if solver.stochastic else _error
        # Where errors are above rounding's and fall as they will: late where more of the past counts.
        few = 96 if solver.order - solver.cold > 1 else {1: 32, 2: 40, 5: 24}.get(solver.order, 64)
        times = [between(schedule, path, n) for n in (few, 2 * few)]
        errors = [measured(solver, path, each if solver.cold == solver.order else _warmed(each)) for each in times]
        order = math.log2(errors[0] / errors[1])
        assert order > solver.order - 0.3, f"declared {solver.order}, measured {order:.2f}, errors {errors}"
        assert solver.stochastic or order < solver.order + 0.3, f"declared {solver.order}, measured {order:.2f}, errors {errors}"

    def test_from_a_cold_start_its_order_is_the_one_it_declares(self, solver: Solver, path: GaussianPath) -> None:
        """The error of the first three steps, which are made once, falls as size^cold, within 0.3."""
        if solver.cold == solver.order:
            pytest.skip("a start without a past costs it nothing: its order is measured from one")
        errors = [_error(solver, path, between(Uniform(), path, n)[:4]) for n in (256, 512)]
        order = math.log2(errors[0] / errors[1])
        assert abs(order - solver.cold) < 0.3, f"declared {solver.cold}, measured {order:.2f}, errors {errors}"

    def test_its_mean_and_variance_are_the_gaussians(self, solver: Solver, path: GaussianPath) -> None:
        """Of what it makes of N(0.7, 0.5^2) in 64 steps, without sampling: to 12 % in size at first order, to 4 % above."""
        one = MixtureOracle.gauss(path, torch.full((1, 1), 0.7), 0.5)
        times = Rho(rho=3, ratio_min=0.02, ratio_max=40).times(64, path).clamp(min=solver.end(path))
        mean, variance = moments(solver, one, times, draws=3 if solver.stochastic else 0)
        alpha, sigma = path.alpha(times[-1]), path.sigma(times[-1])
        exact = ((alpha * 0.5) ** 2 + sigma**2).sqrt()
        assert (mean - alpha * 0.7).abs() < 0.04
        assert (variance.sqrt() / exact - 1).abs() < (0.12 if solver.order == 1 else 0.04)

    def test_the_engine_samples_what_its_numbers_say(self, solver: Solver, path: GaussianPath) -> None:
        """From the prior to time 0 in few steps: mean, covariance and independence of samples are those of its steps, computed."""
        oracle = MixtureOracle.gauss(path, torch.full((64, 2), 0.7), 0.5)
        rows, schedule = 64, Rho(rho=3, ratio_min=0.02, ratio_max=40)
        sampling = Sampling(steps=8, solver=solver, schedule=schedule)
        state, _ = sample(oracle, Request(oracle.layout(range(rows)), oracle.conditions([{}] * rows), sampling))
        one = MixtureOracle.gauss(path, torch.full((1, 1), 0.7), 0.5)
        mean, variance = moments(solver, one, schedule.times(8, path).clamp(min=solver.end(path)))
        values = (state["tokens"].values.double() - mean) / variance.sqrt()
        error = 4.5 / math.sqrt(values.numel())
        assert values.mean().abs() < error
        assert (values.square().mean() - 1).abs() < 2**0.5 * error
        for dim in range(3):  # neighbours among rows, tokens and channels
            assert (values * values.roll(1, dim)).mean().abs() < error * (2**0.5 if dim == 2 else 1)

    def test_it_samples_the_mixture(self, solver: Solver, path: GaussianPath) -> None:
        """Kolmogorov's distance of many samples of two bumps is that of chance and a small bias."""
        oracle = MixtureOracle(
            path, torch.tensor([0.3, 0.7]), torch.tensor([[[-1.0]], [[0.8]]]).double(), torch.tensor([0.2, 0.4]).double()
        )
        rows, generator = 4096, torch.Generator().manual_seed(0)

        def noise(step: int, draw: int) -> Tensor:
            return torch.randn(rows, 1, 1, generator=generator, dtype=torch.float64)

        times = Rho(rho=3, ratio_min=0.02, ratio_max=40).times(80 if solver.order == 1 else 40, path).clamp(min=solver.end(path))
        start = path.alpha(times[0]) * oracle.means[torch.multinomial(oracle.weights, rows, True, generator=generator)]
        values = walk(solver, oracle, start + path.sigma(times[0]) * noise(0, 0), times, noise=noise).flatten().sort().values
        exact = oracle.distribution(values[:, None, None], torch.zeros(()).double()).flatten()
        ranks = torch.arange(rows + 1) / rows
        distance = torch.maximum((exact - ranks[:-1]).abs(), (exact - ranks[1:]).abs()).max()
        assert distance < 1.63 / math.sqrt(rows) + 0.02

    def test_it_ends_at_the_data(self, solver: Solver, path: GaussianPath) -> None:
        """Data that is a single point is hit exactly, in any number of steps; short of t = 0 with what is left of the noise begun with."""
        point = torch.tensor([[[0.5, -1.0]]])
        oracle = MixtureOracle.atoms(path, point, torch.ones(1))
        begin, end = (torch.tensor(t, dtype=torch.float64) for t in (path.start("data"), solver.end(path)))
        layout = oracle.layout([3, 4])
        first = path.corrupt(torch.zeros_like(point), layout.noise("tokens", -1, 0).double(), begin)
        exact = path.corrupt(point.double(), path.to_noise(point.double(), first, begin), end).float()
        chance = 6 * float(path.sigma(end)) if solver.stochastic else 0.0
        for steps in (1, 2, 5):
            state, receipts = sample(oracle, Request(layout, oracle.conditions([{}] * 2), Sampling(steps=steps, solver=solver)))
            torch.testing.assert_close(state["tokens"].values, exact, atol=1e-4 + chance, rtol=0)
            assert receipts["engine"].counts["network_calls"] <= 2 * steps * (solver.calls or math.inf)

    def test_rows_are_alone_together(self, solver: Solver, path: GaussianPath) -> None:
        """A row's sample in a batch, joined by others at other steps, is the one it has alone; the same seed, the same sample."""
        generator = torch.Generator().manual_seed(1)
        oracle = MixtureOracle(path, torch.ones(3) / 3, torch.randn(3, 4, 2, generator=generator), torch.full((3,), 0.2))
        requests = [
            Request(oracle.layout([seed]), oracle.conditions([{"component": seed % 3}]), Sampling(steps=2 + seed, solver=solver))
            for seed in range(3)
        ]
        alone = [sample(oracle, request)[0]["tokens"].values for request in requests]
        again = sample(oracle, requests[0])[0]["tokens"].values
        assert torch.equal(alone[0], again)
        engine, done = Engine(oracle), {}
        for request in requests:
            engine.add(request)
            done |= {finished.row: finished for finished in engine.step()}
        done |= {finished.row: finished for finished in engine.stream()}
        for row, values in enumerate(alone):
            torch.testing.assert_close(done[row].state["tokens"].values, values, atol=1e-5, rtol=0)

    def test_tokens_may_have_times_of_their_own(self, solver: Solver, path: GaussianPath) -> None:
        """Two tokens that know nothing of each other, each with its own times, move as they do alone."""
        if solver.calls == 0:
            pytest.skip("a row's tokens share their sub-steps")
        oracle = MixtureOracle.gauss(path, torch.tensor([[0.7, -0.4], [0.1, 0.5]], dtype=torch.float64), 0.5)
        times = torch.stack((between(Uniform(), path, 6), between(Rho(rho=3), path, 6)), 1)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            alpha = path.alpha(t)
            return oracle.means + alpha * 0.25 / ((alpha * 0.5) ** 2 + path.sigma(t) ** 2) * (x - alpha * oracle.means)

        x = torch.tensor([[[1.1, -0.3], [-0.8, 2.0]]], dtype=torch.float64)
        together = walk(solver, oracle, x, times, predict=predict)
        for token in range(2):
            alone = walk(solver, oracle, x, times[:, token], predict=predict)
            torch.testing.assert_close(together[:, token], alone[:, token])

    def test_receipts_count_its_calls(self, solver: Solver, path: GaussianPath) -> None:
        oracle = MixtureOracle.gauss(path, torch.zeros(2, 2), 1.0)
        _, receipts = sample(oracle, Request(oracle.layout([0, 1, 2]), oracle.conditions([{}] * 3), Sampling(steps=6, solver=solver)))
        assert receipts["engine"].counts["network_calls"] == oracle.calls
        assert 6 * 3 <= oracle.calls <= 6 * 3 * (solver.calls or math.inf)

    def test_unstep_undoes_step(self, solver: Solver, path: GaussianPath) -> None:
        """Down and up again in fp32, on a mixture: one that is exact is back to 1e-4, tokens and memory, and so the other way round."""
        if solver.way_back != "exact":
            pytest.skip("it has no exact way back")
        generator = torch.Generator().manual_seed(1)
        oracle = MixtureOracle(path, torch.ones(3) / 3, torch.randn(3, 4, 2, generator=generator), torch.full((3,), 0.2))
        times = Rho(rho=3, ratio_min=0.02, ratio_max=40).times(20, path).clamp(min=solver.end(path))

        def predict(x: Tensor, t: Tensor) -> Tensor:
            return oracle.posterior_mean(x, t.float(), torch.ones(len(x), 3))

        def through(x: Tensor, memory: Memory, *, up: bool) -> tuple[Tensor, Memory]:
            steps = moves(solver, path, times, x)
            for move in reversed(steps) if up else steps:
                x, memory = finished((solver.unstep if up else solver.step)(x, memory, move), predict)
            return x, memory

        start = torch.randn(5, 4, 2, generator=generator) * path.sigma(times[0]).float()
        low, memory = through(start, solver.memory(start), up=False)
        high, above = through(low, memory, up=True)
        torch.testing.assert_close(high, start, atol=1e-4, rtol=1e-5)
        again, below = through(high, above, up=False)
        torch.testing.assert_close(again, low, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(below["other"], memory["other"], atol=1e-4, rtol=1e-5)
        data = predict(start, path.time_of(torch.tensor(0.1)).expand(5, 1, 1)) + 0.1
        noise, memory = through(data, solver.memory(data), up=True)
        torch.testing.assert_close(through(noise, memory, up=False)[0], data, atol=1e-4, rtol=1e-5)

    def test_a_near_way_back_is_of_its_order(self, solver: Solver, path: GaussianPath) -> None:
        """From clean tokens up and down again: the error falls as steps^-order, within 0.3, once steps are short against the data."""
        if solver.way_back != "near":
            pytest.skip("it has an exact way back, or none")
        oracle = MixtureOracle(path, torch.ones(2) / 2, torch.tensor([[[1.0, -0.5]], [[-0.8, 0.3]]]), torch.ones(2))
        data = torch.tensor([[[0.5, 0.2]], [[-1.5, 0.7]], [[0.0, 1.2]]], dtype=torch.float64)
        errors = []
        for steps in (48, 96):
            times = Rho(rho=3, ratio_min=0.02, ratio_max=40).times(steps, path)
            errors.append(float((walk(solver, oracle, back(solver, oracle, data, times), times) - data).square().mean()) ** 0.5)
        order = math.log2(errors[0] / errors[1])
        assert abs(order - solver.order) < 0.3, f"there and back is of order {order:.2f}, errors {errors}"

    def test_a_way_back_is_there_if_it_is_declared(self, solver: Solver, path: GaussianPath) -> None:
        """Who declares none is refused by name before anything is made."""
        oracle = MixtureOracle.gauss(path, torch.zeros(1, 1), 1.0)
        request = Request(oracle.layout([0]), oracle.conditions([{}]), Sampling(steps=2, solver=solver), inverted=True)
        if solver.way_back == "none":
            with pytest.raises(ValueError, match=f"solver '{re.escape(solver.kind)}' has no way back"):
                Engine(oracle).add(request)
        else:
            assert sample(oracle, request)[0]["tokens"].values.isfinite().all()

    def test_other_paths_are_refused(self, solver: Solver, path: GaussianPath) -> None:
        assert solver.supports(path) is None
        assert "moves along Gaussian paths, not 'masked'" in (solver.supports(Masked()) or "")
