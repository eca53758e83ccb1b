import pytest

from anylatent.energies import FunctionEnergy
from anylatent.node import Node
from anylatent.paths import EDM, Bridge, Brownian, Cosine, Geometric, LinearBeta, Logistic, Rectified, Sigmoid
from anylatent.paths.base import GaussianPath
from anylatent.schedules import BetaSteps, CosineSteps, LogitNormal, Rho, Schedule, Table, Uniform
from anylatent.solvers.adams import AdamsBashforth
from anylatent.solvers.adaptive import Adaptive
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.dpm import DPMSolver
from anylatent.solvers.dpmpp import DPMpp2M, DPMpp3M
from anylatent.solvers.euler import Euler
from anylatent.solvers.exponential import DEIS, ERSDE, Exponential, SDEDPMpp
from anylatent.solvers.fitted import Fitted
from anylatent.solvers.heun import Heun
from anylatent.solvers.invertible import BDIA, EDICT
from anylatent.solvers.langevin import Langevin
from anylatent.solvers.runge_kutta import RungeKutta
from anylatent.solvers.sde_euler import SDEEuler
from anylatent.solvers.unipc import UniPC
from anylatent.solvers.value_search import ValueSearch
from anylatent.testing.solvers import SolverContract

ALIKE = FunctionEnergy(function=lambda data, layout: data.new_zeros(len(data)))
"""The same for all: the first candidate, which is the inner solver's own step, is taken."""


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
    Langevin(solver=DDIM(), steps=0), Langevin(solver=ERSDE(), steps=2, signal_to_noise=0.05), ValueSearch(energy=ALIKE, candidates=2),
    BDIA(), BDIA(gamma=1), EDICT(), Fitted(),
]  # fmt: skip


def _name(solver: Solver) -> str:
    changed = {name: value for name, value in solver if value != type(solver).model_fields[name].default and name != "energy"}
    return "-".join([solver.kind, *(getattr(value, "kind", str(value)) for value in changed.values())])


PATHS = [Rectified(), Cosine(), EDM(sigma_max=50)]
EVERY_PATH = [*PATHS, LinearBeta(), Sigmoid(), Logistic(), Geometric(), Brownian(), Bridge(source="other")]
SCHEDULES = [Uniform(), Uniform(shift=2), Rho(rho=3, ratio_max=5), LogitNormal(), CosineSteps(), BetaSteps(), Table()]
CONVERGING = [solver for solver in SOLVERS if solver.order]


OTHERS = [(path, schedule) for i, path in enumerate(EVERY_PATH) for j, schedule in enumerate(SCHEDULES) if i > 2 and (i + j) % 3 == 0]


@pytest.mark.parametrize(("path", "schedule"), OTHERS, ids=lambda node: node.kind)
def test_orders_hold_on_other_paths(path: GaussianPath, schedule: Schedule) -> None:
    """Each path with every third schedule, by solvers in turn; all of them with all in the slow suite."""
    solver = CONVERGING[7 * OTHERS.index((path, schedule)) % len(CONVERGING)]
    SolverContract().test_its_order_is_the_one_it_declares(solver, path, schedule)


@pytest.mark.slow
@pytest.mark.parametrize("solver", CONVERGING, ids=lambda solver: _name(solver))
@pytest.mark.parametrize("schedule", SCHEDULES, ids=Node.key)
@pytest.mark.parametrize("path", EVERY_PATH, ids=lambda path: path.kind)
def test_orders_of_all_hold_on_every_path_and_schedule(path: GaussianPath, schedule: Schedule, solver: Solver) -> None:
    if solver.order > 4 and path.kind == "brownian":
        pytest.skip("in t, that path is steep near 0: fifth order shows there only where errors are rounding's (4.3 to 4.6 above it)")
    if (solver.kind, path.kind, schedule.kind, solver.order) == ("bdia", "logistic", "table", 2):
        pytest.skip("errors of opposite signs nearly cancel at one number of steps: 3.96")
    SolverContract().test_its_order_is_the_one_it_declares(solver, path, schedule)


class TestCoreSolvers(SolverContract):
    """Every law on one path and with one schedule's spacing for each solver, in turn; all on all in the slow suite."""

    @pytest.fixture(
        scope="class",
        params=[(s, PATHS[i % 3], SCHEDULES[i // 3 % len(SCHEDULES)]) for i, s in enumerate(SOLVERS)],
        ids=lambda p: f"{_name(p[0])}-{p[1].kind}",
    )
    @classmethod
    def chosen(cls, request: pytest.FixtureRequest) -> tuple[Solver, GaussianPath, Schedule]:
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def solver(cls, chosen: tuple[Solver, GaussianPath, Schedule]) -> Solver:
        return chosen[0]

    @pytest.fixture(scope="class")
    @classmethod
    def path(cls, chosen: tuple[Solver, GaussianPath, Schedule]) -> GaussianPath:
        return chosen[1]

    @pytest.fixture(scope="class")
    @classmethod
    def schedule(cls, chosen: tuple[Solver, GaussianPath, Schedule]) -> Schedule:
        return chosen[2]


class TestCommonSolvers(SolverContract):
    """Every law on every path, for the solvers that recipes name most."""

    @pytest.fixture(scope="class")
    @classmethod
    def schedule(cls) -> Schedule:
        return Rho(rho=3)

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
