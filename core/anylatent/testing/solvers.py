"""What every solver must hold to."""

import math
from itertools import pairwise

import pytest
import torch

from anylatent.engine import Request, sample
from anylatent.paths.base import GaussianPath
from anylatent.sampling import Sampling
from anylatent.schedules import Rho, Schedule, Uniform
from anylatent.solvers.base import Move, Solver
from anylatent.testing.oracles import MixtureOracle
from anylatent.types import Float, Tensor


def walk(solver: Solver, oracle: MixtureOracle, x: Float[Tensor, "rows tokens width"], times: Float[Tensor, " times"]) -> Tensor:
    """`x` taken through `times` by the solver, in the precision of `x`, without noise."""
    rows = x.shape[0]
    table, memory = solver.table(oracle.gaussian, times).to(x.dtype), solver.memory(x)
    for i, (t, s) in enumerate(pairwise(times)):
        row = table[i].expand(rows, 1, -1)
        move = Move(
            oracle.gaussian,
            t.expand(rows, 1, 1),
            s.expand(rows, 1, 1),
            torch.full((rows,), i),
            row,
            lambda _, like=x: torch.zeros_like(like),
        )
        steps = solver.step(x, memory, move)
        query = next(steps)
        while True:
            answer = oracle.posterior_mean(query.x, query.t, torch.ones(rows, len(oracle.weights)))
            try:
                query = steps.send(answer)
            except StopIteration as stop:
                x, memory = stop.value
                break
    return x


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

    @pytest.fixture(scope="class", params=[Uniform(), Rho(rho=3, ratio_min=0.05, ratio_max=20)], ids=["uniform", "rho"])
    @classmethod
    def schedule(cls, request: pytest.FixtureRequest) -> Schedule:
        return request.param

    def test_its_order_is_the_one_it_declares(self, solver: Solver, path: GaussianPath, schedule: Schedule) -> None:
        """Against the exact flow of a Gaussian, between fixed times inside (0, 1), in float64: error ~ steps^-order, within 0.3."""
        if solver.stochastic:
            pytest.skip("a stochastic solver has no path to follow: its moments are tested")
        errors = []
        for n in (128, 256, 512):
            times = _inner(schedule, path, n)
            x = torch.tensor([[[1.1, -0.3]], [[-0.8, 2.0]]], dtype=torch.float64) * path.sigma(times[0])
            error = 0.0
            for std in (0.25, 0.5, 1.0, 2.0):  # several, because the error of one may change its sign and vanish
                oracle = MixtureOracle.gauss(path, torch.tensor([[0.7, -0.4]]), std)
                error += float((walk(solver, oracle, x, times) - oracle.flow(x, times[0], times[-1])).square().sum())
            errors.append(error**0.5)
        orders = [math.log2(a / b) for a, b in pairwise(errors)]
        assert all(abs(order - solver.order) < 0.3 for order in orders), f"declared {solver.order}, measured {orders}"

    def test_it_samples_the_gaussian(self, solver: Solver, path: GaussianPath) -> None:
        """Mean and standard deviation of many samples, from the prior to time 0."""
        oracle = MixtureOracle.gauss(path, torch.tensor([[0.7, -0.4, 0.1, 0.0]]), 0.5)
        rows = 2048
        schedule = Rho(rho=3, ratio_min=0.01, ratio_max=50) if path.kind == "edm" else Uniform()
        request = Request(
            oracle.layout(range(rows)),
            oracle.conditions([{}] * rows),
            Sampling(steps=60 if solver.order > 1 else 200, solver=solver, schedule=schedule),
        )
        state, _ = sample(oracle, request, rows=rows)
        values = state["tokens"].values[:, 0]
        error = 4 * 0.5 / math.sqrt(rows)
        bias = 0.02 if solver.order == 1 else 0.01
        assert (values.mean(0) - oracle.means[0, 0]).abs().max() < error + bias
        assert (values.std(0) - 0.5).abs().max() < error + bias
        correlation = torch.corrcoef(values.T) - torch.eye(4)
        assert correlation.abs().max() < 5 / math.sqrt(rows)

    def test_it_ends_at_the_data(self, solver: Solver, path: GaussianPath) -> None:
        """Data that is a single point is hit exactly, from pure noise, in any number of steps."""
        point = torch.tensor([[[0.5, -1.0]]])
        oracle = MixtureOracle.atoms(path, point, torch.ones(1))
        for steps in (1, 2, 7):
            state, receipts = sample(
                oracle, Request(oracle.layout([3, 4]), oracle.conditions([{}] * 2), Sampling(steps=steps, solver=solver))
            )
            torch.testing.assert_close(state["tokens"].values, point.expand(2, 1, 2), atol=1e-4, rtol=0)
            assert receipts["engine"].counts["network_calls"] <= 2 * steps * solver.calls

    def test_rows_are_alone_together(self, solver: Solver, path: GaussianPath) -> None:
        """A row's sample in a batch, joined by others at other steps, is the one it has alone; the same seed, the same sample."""
        from anylatent.engine import Engine

        generator = torch.Generator().manual_seed(1)
        oracle = MixtureOracle(path, torch.ones(3) / 3, torch.randn(3, 4, 2, generator=generator), torch.full((3,), 0.2))
        requests = [
            Request(oracle.layout([seed]), oracle.conditions([{"component": seed % 3}]), Sampling(steps=5 + seed, solver=solver))
            for seed in range(6)
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

    def test_receipts_count_its_calls(self, solver: Solver, path: GaussianPath) -> None:
        oracle = MixtureOracle.gauss(path, torch.zeros(2, 2), 1.0)
        _, receipts = sample(oracle, Request(oracle.layout([0, 1, 2]), oracle.conditions([{}] * 3), Sampling(steps=6, solver=solver)))
        assert receipts["engine"].counts["network_calls"] == oracle.calls
        assert 6 * 3 <= oracle.calls <= 6 * 3 * solver.calls


def _inner(schedule: Schedule, path: GaussianPath, n: int) -> Float[Tensor, " times"]:
    """The schedule's spacing between ratios 20 and 0.1: away from both ends, where solvers may lower their order."""
    high, low = (
        path.time_of(torch.tensor(ratio, dtype=torch.float64)) for ratio in (min(20.0, 0.9 * getattr(path, "sigma_max", 1e9)), 0.1)
    )
    if isinstance(schedule, Rho):
        return Rho(rho=schedule.rho, ratio_min=0.1, ratio_max=float(path.sigma(high) / path.alpha(high))).times(n + 1, path)[:-1]
    return low + schedule.times(n, path) * (high - low)
