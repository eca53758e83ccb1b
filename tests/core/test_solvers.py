import pytest

from anylatent.paths import EDM, Cosine, Rectified
from anylatent.paths.base import GaussianPath
from anylatent.solvers.adams import AdamsBashforth
from anylatent.solvers.adaptive import Adaptive
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.dpm import DPMSolver
from anylatent.solvers.dpmpp import DPMpp2M, DPMpp3M
from anylatent.solvers.euler import Euler
from anylatent.solvers.exponential import DEIS, ERSDE, Exponential, SDEDPMpp
from anylatent.solvers.heun import Heun
from anylatent.solvers.invertible import BDIA, EDICT
from anylatent.solvers.langevin import Langevin
from anylatent.solvers.runge_kutta import RungeKutta
from anylatent.solvers.sde_euler import SDEEuler
from anylatent.solvers.unipc import UniPC
from anylatent.testing.solvers import SolverContract

SOLVERS: list[Solver] = [
    Euler(), Heun(), DDIM(), Ancestral(), SDEEuler(), DPMpp2M(), DPMpp3M(),
    Exponential(order=4), Exponential(order=2, parameter="noise", variable="ratio"), DEIS(order=3), DEIS(order=2, variable="log-snr"),
    SDEDPMpp(order=1), SDEDPMpp(order=2), SDEDPMpp(order=2, eta=0.5), ERSDE(points=1), ERSDE(points=2), ERSDE(points=3),
    DPMSolver(order=2), DPMSolver(order=3), DPMSolver(order=2, parameter="data", r=0.7),
    UniPC(points=1), UniPC(points=2, line="bh1"), UniPC(points=3, parameter="noise", line="exact"),
    AdamsBashforth(order=2), AdamsBashforth(order=4),
    RungeKutta(tableau="midpoint"), RungeKutta(tableau="ralston"), RungeKutta(tableau="rk3"), RungeKutta(tableau="rk4"),
    RungeKutta(tableau="bogacki-shampine"), RungeKutta(tableau="dormand-prince"),
    Adaptive(tolerance=1e9), Langevin(solver=DPMpp2M(), signal_to_noise=0.1), Langevin(solver=SDEDPMpp(), steps=0),
    BDIA(), BDIA(gamma=1), EDICT(),
]  # fmt: skip


def _name(solver: Solver) -> str:
    changed = {name: value for name, value in solver if value != type(solver).model_fields[name].default}
    return "-".join([solver.kind, *(getattr(value, "kind", str(value)) for value in changed.values())])


PATHS = [Rectified(), Cosine(), EDM(sigma_max=50)]


class TestCoreSolvers(SolverContract):
    """Every law on one path for each solver, in turn; all on all in the slow suite."""

    @pytest.fixture(scope="class", params=[(s, PATHS[i % 3]) for i, s in enumerate(SOLVERS)], ids=lambda p: f"{_name(p[0])}-{p[1].kind}")
    @classmethod
    def pair(cls, request: pytest.FixtureRequest) -> tuple[Solver, GaussianPath]:
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def solver(cls, pair: tuple[Solver, GaussianPath]) -> Solver:
        return pair[0]

    @pytest.fixture(scope="class")
    @classmethod
    def path(cls, pair: tuple[Solver, GaussianPath]) -> GaussianPath:
        return pair[1]


class TestCommonSolvers(SolverContract):
    """Every law on every path, for the solvers that recipes name most."""

    @pytest.fixture(scope="class", params=PATHS, ids=lambda path: path.kind)
    @classmethod
    def path(cls, request: pytest.FixtureRequest) -> GaussianPath:
        return request.param

    @pytest.fixture(scope="class", params=[DPMpp2M(), UniPC(), Ancestral()], ids=_name)
    @classmethod
    def solver(cls, request: pytest.FixtureRequest) -> Solver:
        return request.param


@pytest.mark.slow
class TestEverySolverOnEveryPath(SolverContract):
    @pytest.fixture(scope="class", params=PATHS, ids=lambda path: path.kind)
    @classmethod
    def path(cls, request: pytest.FixtureRequest) -> GaussianPath:
        return request.param

    @pytest.fixture(scope="class", params=SOLVERS, ids=_name)
    @classmethod
    def solver(cls, request: pytest.FixtureRequest) -> Solver:
        return request.param
