import pytest
import torch

from anylatent.paths import EDM, Cosine, Rectified
from anylatent.paths.base import GaussianPath
from anylatent.schedules import Rho
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.euler import Euler
from anylatent.solvers.heun import Heun
from anylatent.solvers.sde_euler import SDEEuler
from anylatent.testing.oracles import MixtureOracle
from anylatent.testing.solvers import SolverContract, walk
from anylatent.types import Tensor

SOLVERS = [Euler(), Heun(), DDIM(), DPMpp2M(), Ancestral(), SDEEuler()]


class TestCoreSolvers(SolverContract):
    @pytest.fixture(scope="class", params=[Rectified(), Cosine(), EDM(sigma_max=50)], ids=lambda path: path.kind)
    @classmethod
    def path(cls, request: pytest.FixtureRequest) -> GaussianPath:
        return request.param

    @pytest.fixture(scope="class", params=SOLVERS, ids=lambda solver: solver.kind)
    @classmethod
    def solver(cls, request: pytest.FixtureRequest) -> Solver:
        return request.param


def test_a_stochastic_solver_without_noise_is_deterministic() -> None:
    times = Rho().times(10, Cosine())
    torch.testing.assert_close(Ancestral(eta=0).table(Cosine(), times)[:, :2], DDIM().table(Cosine(), times))
    torch.testing.assert_close(SDEEuler(churn=0).table(Rectified(), times)[:, :2], Euler().table(Rectified(), times))


def test_on_straight_paths_euler_is_ddim() -> None:
    times = torch.linspace(1, 0, 11, dtype=torch.float64)
    torch.testing.assert_close(Euler().table(Rectified(), times), DDIM().table(Rectified(), times))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # diffusers converts tensors as numpy 1 did
class TestAgainstDiffusers:
    """The same times, noise and predictions through diffusers' schedulers: trajectories agree to 1e-4."""

    N = 10

    @pytest.fixture(scope="class")
    @classmethod
    def oracle(cls) -> MixtureOracle:
        generator = torch.Generator().manual_seed(3)
        return MixtureOracle(
            EDM(sigma_max=80), torch.tensor([0.3, 0.7]), torch.randn(2, 3, 2, generator=generator), torch.tensor([0.3, 0.6])
        )

    def _sigmas(self, scheduler_class: type, **options: object) -> tuple[object, Tensor]:
        scheduler = scheduler_class(
            num_train_timesteps=1000, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, use_karras_sigmas=True, **options
        )
        scheduler.set_timesteps(self.N)
        return scheduler, scheduler.sigmas.double()

    def _theirs(self, scheduler, oracle: MixtureOracle, x: Tensor, sigma_of) -> Tensor:
        for t in scheduler.timesteps:
            sigma = sigma_of(scheduler)
            scheduler.scale_model_input(x, t)
            data = oracle.posterior_mean(x, (sigma / 80).expand(len(x), 1, 1), torch.ones(len(x), 2))
            x = scheduler.step((x - data) / sigma, t, x).prev_sample
        return x

    @pytest.mark.parametrize(("name", "solver"), [("EulerDiscreteScheduler", Euler()), ("HeunDiscreteScheduler", Heun())])
    def test_euler_and_heun(self, oracle: MixtureOracle, name: str, solver: Solver) -> None:
        import diffusers

        scheduler, sigmas = self._sigmas(getattr(diffusers, name))
        times = (sigmas.unique_consecutive() if name.startswith("Heun") else sigmas) / 80
        x = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * sigmas[0]
        theirs = self._theirs(scheduler, oracle, x, lambda s: s.sigmas[s.step_index if s.step_index is not None else 0].double())
        torch.testing.assert_close(walk(solver, oracle, x, times), theirs.double(), atol=1e-4, rtol=1e-4)

    def test_ddim(self) -> None:
        """On the cosine path, at the times whose alpha^2 are those of diffusers' table."""
        import diffusers

        generator = torch.Generator().manual_seed(3)
        oracle = MixtureOracle(Cosine(), torch.tensor([0.3, 0.7]), torch.randn(2, 3, 2, generator=generator), torch.tensor([0.3, 0.6]))
        scheduler = diffusers.DDIMScheduler(
            beta_schedule="squaredcos_cap_v2", clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"
        )
        scheduler.set_timesteps(self.N)
        squares = torch.cat((scheduler.alphas_cumprod.double()[scheduler.timesteps], torch.ones(1, dtype=torch.float64)))
        times = squares.sqrt().acos() * 2 / torch.pi
        x = start = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for t, time in zip(scheduler.timesteps, times[:-1], strict=True):
            data = oracle.posterior_mean(x, time.expand(4, 1, 1), torch.ones(4, 2))
            x = scheduler.step(oracle.gaussian.to_noise(data, x, time), t, x).prev_sample
        torch.testing.assert_close(walk(DDIM(), oracle, start, times), x, atol=1e-4, rtol=1e-4)

    def test_dpm_solver_pp_2m(self, oracle: MixtureOracle) -> None:
        import diffusers

        scheduler = diffusers.DPMSolverMultistepScheduler(
            beta_schedule="squaredcos_cap_v2",
            algorithm_type="dpmsolver++",
            solver_order=2,
            lower_order_final=True,
            final_sigmas_type="zero",
            timestep_spacing="trailing",
            prediction_type="sample",
        )
        scheduler.set_timesteps(self.N)
        sigmas = scheduler.sigmas.double()  # sigma / alpha
        own = MixtureOracle(Cosine(), oracle.weights, oracle.means, oracle.stds)
        times = sigmas.atan() * 2 / torch.pi
        x = start = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for t, time in zip(scheduler.timesteps, times[:-1], strict=True):
            data = own.posterior_mean(x.double(), time.expand(4, 1, 1), torch.ones(4, 2))
            x = scheduler.step(data, t, x).prev_sample
        torch.testing.assert_close(walk(DPMpp2M(), own, start, times), x.double(), atol=1e-4, rtol=1e-4)
