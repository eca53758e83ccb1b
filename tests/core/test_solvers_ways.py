"""What single solvers promise beyond the contract: ways back, own step sizes, identities, what they refuse."""

from dataclasses import replace

import pytest
import torch

from anylatent.conditioners.base import Conditions
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.engine import Engine, Finished, Known, Request, sample
from anylatent.paths import EDM, Cosine, Rectified
from anylatent.paths.base import GaussianPath, Path
from anylatent.sampling import Sampling
from anylatent.schedules import Rho, Uniform
from anylatent.solvers.adams import AdamsBashforth
from anylatent.solvers.adaptive import Adaptive
from anylatent.solvers.base import Multistep, Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.dpm import DPMSolver
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.euler import Euler
from anylatent.solvers.exponential import DEIS, Exponential, SDEDPMpp
from anylatent.solvers.heun import Heun
from anylatent.solvers.invertible import BDIA, EDICT
from anylatent.solvers.langevin import Langevin
from anylatent.solvers.runge_kutta import RungeKutta
from anylatent.solvers.sde_euler import SDEEuler
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.backbones import shaken
from anylatent.testing.oracles import MixtureOracle
from anylatent.testing.solvers import walk
from anylatent.types import Tensor


def _kind(node: Solver | GaussianPath) -> str:
    return node.kind


def _oracle(path: GaussianPath, std: float = 0.2) -> MixtureOracle:
    means = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(1))
    return MixtureOracle(path, torch.ones(3) / 3, means, torch.full((3,), std))


def _ask(oracle: MixtureOracle, solver: Solver, rows: int = 4, **sampling: object) -> Request:
    sampling = {"steps": 8, "schedule": Rho(rho=3, ratio_min=0.02, ratio_max=40)} | sampling
    return Request(oracle.layout(range(rows)), oracle.conditions([{}] * rows), Sampling(solver=solver, **sampling))


def _transformer(path: GaussianPath, size: float = 0.1) -> Denoiser:
    """A small one whose weights do something, over sequences of two channels."""
    spec = StreamSpec(name="tokens", width=2, axes=(AxisSpec(name="i", unit="1"),), order="sequence")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = DiTConfig(depth=1, width=32, heads=2).build((spec,), cross=False)
    denoiser = Denoiser(backbone, Conditions(32, {}), {"tokens": Corruption(path, "velocity")})
    return shaken(denoiser, size=size).eval().requires_grad_(False)


def _rows(sizes: list[int], first: int = 0) -> State:
    """Empty rows of so many tokens; the first one's seed."""
    return State.cat(
        [
            State.of({"tokens": Stream.of(torch.zeros(1, size, 2), torch.arange(float(size))[None, :, None])}, [seed])
            for seed, size in enumerate(sizes, first)
        ]
    )


class TestIdentities:
    """What is neutral in one solver is another: the same numbers."""

    TIMES = Rho().times(10, Cosine())

    @pytest.mark.parametrize(
        ("solver", "other"),
        [
            (Ancestral(eta=0), DDIM()), (SDEEuler(churn=0), Euler()), (SDEDPMpp(order=1), Ancestral()), (SDEDPMpp(eta=0), Exponential()),
            (Exponential(order=1), DDIM()), (AdamsBashforth(order=1), Euler()),
            (DEIS(order=3), Exponential(order=3, parameter="noise", variable="time")),
        ],
        ids=str,
    )  # fmt: skip
    def test_tables(self, solver: Multistep, other: Multistep) -> None:
        times = self.TIMES[1:] if isinstance(other, Ancestral) else self.TIMES  # from pure noise one keeps it, the other does not
        table, expected = solver.table(Cosine(), times), other.table(Cosine(), times)
        torch.testing.assert_close(table[:, : expected.shape[1]], expected, atol=1e-12, rtol=1e-9)
        assert not table[:, expected.shape[1] :].any(), "no noise"

    @pytest.mark.parametrize("path", [Rectified(), Cosine(), EDM()], ids=str)
    def test_with_little_new_noise_samples_are_those_of_the_ode(self, path: GaussianPath) -> None:
        """From pure noise too, where every SDE, taken exactly, would draw all of it anew."""
        oracle = _oracle(path)
        ode, near, far = (sample(oracle, _ask(oracle, SDEDPMpp(eta=eta)))[0]["tokens"].values for eta in (0, 1e-4, 1))
        scale = float(ode.std())
        assert float((near - ode).abs().max()) < 0.05 * scale
        assert float((far - ode).abs().max()) > 0.2 * scale

    def test_on_straight_paths_euler_is_ddim(self) -> None:
        times = torch.linspace(1, 0, 11, dtype=torch.float64)
        torch.testing.assert_close(Euler().table(Rectified(), times), DDIM().table(Rectified(), times))

    @pytest.mark.parametrize(
        ("solver", "other"),
        [
            (Langevin(solver=DPMpp2M(), steps=0), DPMpp2M()), (Langevin(solver=SDEDPMpp(), steps=0), SDEDPMpp()),
            (RungeKutta(tableau="heun"), Heun()), (DPMSolver(order=1), DDIM()),
        ],
        ids=str,
    )  # fmt: skip
    def test_samples(self, solver: Solver, other: Solver) -> None:
        oracle = _oracle(Rectified())
        one, two = (sample(oracle, _ask(oracle, each))[0]["tokens"].values for each in (solver, other))
        torch.testing.assert_close(one, two, atol=1e-5 * (solver.kind == "dpm-solver"), rtol=0)

    def test_without_a_tolerance_a_step_is_that_of_its_tableau(self) -> None:
        oracle, times = _oracle(Rectified()), torch.linspace(1, 0.1, 6, dtype=torch.float64)
        x = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        for tableau in ("bogacki-shampine", "dormand-prince"):
            adaptive, fixed = Adaptive(tableau=tableau, tolerance=float("inf")), RungeKutta(tableau=tableau)
            torch.testing.assert_close(walk(adaptive, oracle, x, times), walk(fixed, oracle, x, times), atol=1e-12, rtol=1e-12)


class TestAdaptive:
    @pytest.mark.parametrize(
        ("path", "tableau"), [(Rectified(), "bogacki-shampine"), (Cosine(), "dormand-prince"), (EDM(), "bogacki-shampine")]
    )
    def test_a_smaller_tolerance_costs_calls_and_buys_accuracy(self, path: GaussianPath, tableau: str) -> None:
        means, stds = torch.tensor([[[-1.0]], [[0.5]]], dtype=torch.float64), torch.tensor([0.3, 0.5], dtype=torch.float64)
        oracle = MixtureOracle(path, torch.tensor([0.4, 0.6]), means, stds)
        times = path.time_of(torch.tensor([20.0, 0.05], dtype=torch.float64))
        x = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)[:, None, None] * path.sigma(times[0])
        errors, calls = [], []
        for tolerance in (1e-2, 1e-4, 1e-6):
            asked: list[int] = []

            def predict(x: Tensor, t: Tensor, asked: list[int] = asked) -> Tensor:
                asked.append(len(x))
                return oracle.posterior_mean(x, t, torch.ones(len(x), 2))

            solver = Adaptive.model_validate({"tableau": tableau, "tolerance": tolerance})
            made = walk(solver, oracle, x, times, predict=predict)
            errors.append(float((made - oracle.flow(x, times[0], times[1])).abs().max()))
            calls.append(len(asked))
        assert calls[0] < calls[1] < calls[2]
        assert errors[0] < 0.1
        assert errors[1] < 1e-2
        assert errors[2] < 1e-4

    def test_rows_and_padding_do_not_touch_a_rows_decisions(self) -> None:
        """Rows of 2, 5 and 9 tokens of a transformer, with their own numbers of sub-steps: samples and calls as alone."""
        denoiser, sizes = _transformer(Rectified(), size=0.02), [2, 5, 9]
        sampling = Sampling(steps=2, solver=Adaptive(tolerance=0.002))
        together, receipts = sample(denoiser, Request(_rows(sizes), denoiser.conditions([{}] * 3), sampling))
        calls = [receipts["engine"].rows[row]["network_calls"] for row in range(3)]
        assert len(set(calls)) > 1, f"rows need the same {calls}: the test shows nothing"
        for row, size in enumerate(sizes):
            alone, receipt = sample(denoiser, Request(_rows([size], row), denoiser.conditions([{}]), sampling))
            torch.testing.assert_close(alone["tokens"].values[0], together["tokens"].values[row, :size], atol=1e-4, rtol=0)
            assert receipt["engine"].counts["network_calls"] == calls[row]

    def test_its_limit_is_kept_and_told(self) -> None:
        oracle = _oracle(Rectified())
        _, receipts = sample(oracle, _ask(oracle, Adaptive(tolerance=1e-9, limit=3), rows=1, steps=2))
        # A step: the first slope, three tries of three calls, of which the last goes the whole way, and in the last step the prediction.
        # The first two tries are rejected; the second step begins with a size so small that its are not.
        assert receipts["engine"].counts["network_calls"] == 2 * (1 + 3 * 3) + 1
        assert receipts["adaptive"].rows[0] == {"sub_steps": 4, "rejected": 2, "over_tolerance": 2}

    @pytest.mark.parametrize(("tableau", "stages", "most"), [("bogacki-shampine", 3, 77), ("dormand-prince", 6, 110)])
    def test_its_receipt_accounts_for_every_call(self, tableau: str, stages: int, most: int) -> None:
        """Of each row: a slope a step, the stages of each sub-step, made or rejected, and the prediction; in all not many."""
        oracle = _oracle(EDM(sigma_max=80))
        solver = Adaptive.model_validate({"tableau": tableau, "tolerance": 0.01})
        _, receipts = sample(oracle, _ask(oracle, solver, rows=6, steps=1, schedule=Uniform()))
        for row, counts in receipts["adaptive"].rows.items():
            assert receipts["engine"].rows[row]["network_calls"] == 1 + stages * (counts["sub_steps"] + counts.get("rejected", 0)) + 1
            assert receipts["engine"].rows[row]["network_calls"] <= most
            assert "over_tolerance" not in counts
        assert 0 < receipts["adaptive"].counts["rejected"] < 0.8 * receipts["adaptive"].counts["sub_steps"]


class TestWaysBack:
    @pytest.mark.parametrize(
        ("solver", "path"),
        [(BDIA(), Rectified()), (BDIA(gamma=1), Cosine()), (EDICT(), EDM()), (EDICT(), Rectified())],
        ids=_kind,
    )
    def test_exactly_through_a_transformer(self, solver: Solver, path: GaussianPath) -> None:
        """Sampled and inverted by the engine, in fp32, from noise and from data: back to 1e-4."""
        denoiser = _transformer(path)
        schedule = Rho(rho=3, ratio_min=0.02, ratio_max=20)
        request = Request(_rows([6, 6]), denoiser.conditions([{}] * 2), Sampling(steps=8, solver=solver, schedule=schedule))
        down = _all(denoiser, request)
        top = path.corrupt(torch.zeros(()), request.state.noise("tokens", -1, 0), schedule.times(8, path)[0].float())
        up = _all(denoiser, replace(request, inverted=True, known=_known(down)))
        torch.testing.assert_close(_values(up), top, atol=1e-4, rtol=1e-6)
        data = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(3))
        given = replace(request, state=request.state.with_values({"tokens": data}), inverted=True)
        noise = _all(denoiser, given)
        again = _all(denoiser, replace(request, known=_known(noise)))
        torch.testing.assert_close(_values(again), data, atol=1e-4, rtol=1e-6)

    @pytest.mark.parametrize(("solver", "path"), [(DDIM(), EDM()), (Euler(), Rectified())], ids=_kind)
    def test_nearly_with_one_step_solvers(self, solver: Solver, path: GaussianPath) -> None:
        """From clean samples up and down again: half the error with twice the steps."""
        oracle = _oracle(path, std=1.0)
        data = oracle.means[[0, 1, 2]] + 0.3
        errors = []
        for steps in (24, 48):
            request = _ask(oracle, solver, rows=3, steps=steps)
            noise = _all(oracle, replace(request, state=request.state.with_values({"tokens": data}), inverted=True))
            again = _all(oracle, replace(request, known=_known(noise)))
            errors.append(float((_values(again) - data).abs().max()))
        assert 1.8 < errors[0] / errors[1] < 2.2, errors
        assert errors[1] < 0.15

    def test_after_new_noise_the_other_copy_is_forgotten(self) -> None:
        """A table begins anew where a row is noised again; what a step left in memory belongs to other tokens."""
        oracle, times = _oracle(Rectified()), torch.linspace(1, 0.5, 4, dtype=torch.float64)
        x = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
        for solver in (BDIA(), EDICT()):
            memory = {**solver.memory(x), "other": torch.full_like(x, 7.0), "whence": torch.ones(2, 1, 1)}
            fresh = walk(solver, oracle, x, times)
            torch.testing.assert_close(walk(solver, oracle, x, times, memory=memory), fresh, atol=0, rtol=0)

    def test_others_are_refused(self) -> None:
        oracle = _oracle(Rectified())
        with pytest.raises(ValueError, match=r"solver 'dpm\+\+2m' has no way back: invert with 'ddim'"):
            Engine(oracle).add(replace(_ask(oracle, DPMpp2M()), inverted=True))


class TestLangevin:
    def test_it_brings_tokens_back_to_their_distribution(self) -> None:
        """Tokens that are all in one place at t = 0.5 spread to the marginal there."""
        path = Rectified()
        oracle = MixtureOracle.gauss(path, torch.full((1, 1), 0.7, dtype=torch.float64), 0.5)
        times = torch.tensor([0.5 + 1e-9, 0.5], dtype=torch.float64)
        generator = torch.Generator().manual_seed(0)
        solver = Langevin(solver=Euler(), steps=300, signal_to_noise=0.16)
        x = walk(
            solver, oracle, torch.zeros(4000, 1, 1, dtype=torch.float64), times,
            noise=lambda step, draw: torch.randn(4000, 1, 1, generator=generator, dtype=torch.float64),
        )  # fmt: skip
        variance = 0.25 * 0.25 + 0.25
        assert abs(float(x.mean()) - 0.35) < 4.5 * (variance / 4000) ** 0.5
        assert abs(float(x.var()) / variance - 1) < 4.5 * (2 / 4000) ** 0.5 + 0.16**2


class _Jumps(Path, kind="jumps"):
    pass


@pytest.mark.parametrize("solver", [Euler(), DPMpp2M(), Langevin(), EDICT(), Adaptive()], ids=lambda solver: solver.kind)
def test_other_paths_are_refused(solver: Solver) -> None:
    assert solver.supports(_Jumps()) == f"solver '{solver.kind}' moves along Gaussian paths, not 'jumps'"


def test_schedules_with_two_equal_times_hold() -> None:
    """Invertible solvers end early: the last times of a schedule may all be that end."""
    oracle = _oracle(Rectified())
    state, _ = sample(oracle, _ask(oracle, EDICT(last=0.3), steps=8, schedule=Uniform()))
    assert state["tokens"].values.isfinite().all()


def _all(denoiser: Denoiser, request: Request) -> list[Finished]:
    engine = Engine(denoiser)
    engine.add(request)
    return sorted(engine.stream(), key=lambda finished: finished.row)


def _values(finished: list[Finished]) -> Tensor:
    return torch.cat([each.state["tokens"].values for each in finished])


def _known(finished: list[Finished]) -> Known:
    """Where they ended and what their solver remembers."""
    memory = {name: torch.cat([each.memory["tokens"][name] for each in finished]) for name in finished[0].memory["tokens"]}
    return Known(begun={"tokens": _values(finished)}, memory={"tokens": memory})
