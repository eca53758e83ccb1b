"""The same times, noise and predictions through diffusers' schedulers: trajectories agree to 1e-4."""

import pytest
import torch

from anylatent.paths import EDM, Cosine
from anylatent.solvers.adams import AdamsBashforth
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.dpm import DPMSolver
from anylatent.solvers.dpmpp import DPMpp2M, DPMpp3M
from anylatent.solvers.euler import Euler
from anylatent.solvers.exponential import DEIS, Exponential, SDEDPMpp
from anylatent.solvers.heun import Heun
from anylatent.solvers.unipc import UniPC
from anylatent.testing.oracles import MixtureOracle
from anylatent.testing.solvers import walk
from anylatent.types import Tensor

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers' own

N = 12
GENERATOR = torch.Generator().manual_seed(3)
WEIGHTS, MEANS, STDS = torch.tensor([0.3, 0.7]), torch.randn(2, 3, 2, generator=GENERATOR), torch.tensor([0.3, 0.6])
START = torch.randn(4, 3, 2, generator=GENERATOR)


def _data(oracle: MixtureOracle, x: Tensor, time: Tensor) -> Tensor:
    return oracle.posterior_mean(x, time.expand(len(x), 1, 1), torch.ones(len(x), 2))


class TestVariancePreserving:
    """Exponential integrators, in N steps between two noise levels that are neither 0 nor infinite; unequal steps in lambda."""

    ORACLE = MixtureOracle(Cosine(), WEIGHTS, MEANS, STDS)
    RATIOS = torch.linspace(20**0.5, 0.02**0.5, N + 1, dtype=torch.float64) ** 2

    def _theirs(self, name: str, ratios: Tensor, **options: object) -> Tensor:
        import diffusers

        noise = options.pop("noise", None)
        scheduler = getattr(diffusers, name)(prediction_type="sample", lower_order_final=False, **options)
        scheduler.set_timesteps(len(ratios))
        scheduler.sigmas = torch.cat((ratios, torch.zeros(1))).float()
        x = START * Cosine().sigma(Cosine().time_of(ratios[0])).float()
        for i, t in enumerate(scheduler.timesteps[: len(ratios) - 1]):
            data = _data(self.ORACLE, x, Cosine().time_of(ratios[i]).float())
            extra = {"variance_noise": noise[i]} if noise is not None else {}
            x = scheduler.step(data, t, x, **extra).prev_sample
        return x

    def _ours(self, solver: Solver, ratios: Tensor, noise: Tensor | None = None) -> Tensor:
        times = Cosine().time_of(ratios)
        x = START.double() * Cosine().sigma(times[0])
        return walk(solver, self.ORACLE, x, times, noise=None if noise is None else lambda step, _: noise[step].double()).float()

    @pytest.mark.parametrize(
        ("solver", "name", "options"),
        [
            (DDIM(), "DPMSolverMultistepScheduler", {"solver_order": 1}),
            (DPMpp2M(), "DPMSolverMultistepScheduler", {"solver_order": 2}),
            (Exponential(order=2), "DPMSolverMultistepScheduler", {"solver_order": 2, "solver_type": "heun"}),
            (
                Exponential(order=2, parameter="noise"),
                "DPMSolverMultistepScheduler",
                {"solver_order": 2, "solver_type": "heun", "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
            ),
            (DPMpp3M(), "UniPCMultistepScheduler", {"solver_order": 3, "disable_corrector": list(range(N))}),
            *[
                (
                    UniPC(points=points, line=line, parameter="data" if data else "noise"),
                    "UniPCMultistepScheduler",
                    {"solver_order": points, "solver_type": line, "predict_x0": data},
                )
                for points, line, data in [(1, "bh2", True), (2, "bh1", True), (2, "bh2", False), (3, "bh1", False), (3, "bh2", True)]
            ],
            *[(DEIS(order=order, variable="log-snr"), "DEISMultistepScheduler", {"solver_order": order}) for order in (1, 2, 3)],
        ],
        ids=str,
    )  # fmt: skip
    def test_multistep(self, solver: Solver, name: str, options: dict[str, object]) -> None:
        torch.testing.assert_close(self._ours(solver, self.RATIOS), self._theirs(name, self.RATIOS, **options), atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("order", [1, 2])
    def test_sde(self, order: int) -> None:
        noise = torch.randn(N, 4, 3, 2, generator=torch.Generator().manual_seed(5))
        theirs = self._theirs(
            "DPMSolverMultistepScheduler",
            self.RATIOS,
            solver_order=order,
            algorithm_type="sde-dpmsolver++",
            solver_type="heun",
            noise=noise,
        )
        torch.testing.assert_close(self._ours(SDEDPMpp(order=order), self.RATIOS, noise), theirs, atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("parameter", ["data", "noise"])
    def test_singlestep(self, parameter: str) -> None:
        """Every other time of theirs is ours; in between they are half-way in lambda."""
        ratios = torch.logspace(1, -1.5, 2 * N + 1, dtype=torch.float64)
        kind = {"data": "dpmsolver++", "noise": "dpmsolver"}[parameter]
        theirs = self._theirs("DPMSolverSinglestepScheduler", ratios, solver_order=2, algorithm_type=kind, final_sigmas_type="sigma_min")
        ours = self._ours(DPMSolver.model_validate({"order": 2, "parameter": parameter}), ratios[::2])
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)

    def test_their_third_order_takes_half_of_the_curvature(self) -> None:
        """Why `dpm++3m` is compared with UniP-3: where the prediction is lambda squared, a step of third order is exact."""
        import diffusers

        lam = torch.linspace(-2, 2, 9, dtype=torch.float64)
        times = Cosine().time_of((-lam).exp())
        # x / sigma is the integral of exp(lambda) lambda^2.
        exact = Cosine().sigma(times) * lam.exp() * (lam**2 - 2 * lam + 2)
        ours = DPMpp3M().table(Cosine(), times)[3] @ torch.stack((exact[3], lam[3] ** 2, lam[2] ** 2, lam[1] ** 2))
        torch.testing.assert_close(ours, exact[4])
        scheduler = diffusers.DPMSolverMultistepScheduler(prediction_type="sample", solver_order=3, lower_order_final=False)
        scheduler.set_timesteps(9)
        scheduler.sigmas = torch.cat(((-lam).exp(), torch.zeros(1)))
        steps = [scheduler.step(lam[i] ** 2, t, exact[i]).prev_sample for i, t in enumerate(scheduler.timesteps[:4])]
        missing = Cosine().alpha(times[4]) * (0.5 - (torch.tensor(-0.5).exp() - 0.5) / 0.25)
        torch.testing.assert_close(exact[4] - steps[3], missing * 0.25, atol=1e-6, rtol=1e-4)


class TestVarianceExploding:
    """Schedulers that work on x / alpha: the `edm` path, at Karras' noise levels, to the last before 0."""

    ORACLE = MixtureOracle(EDM(sigma_max=80), WEIGHTS, MEANS, STDS)

    def _theirs(self, name: str, calls: int = 1, **step: object) -> tuple[Tensor, Tensor]:
        """Their tokens before the last step, and the times that they went through."""
        import diffusers

        options: dict[str, object] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
        if "Ancestral" not in name:
            options["use_karras_sigmas"] = True
        scheduler = getattr(diffusers, name)(num_train_timesteps=1000, **options)
        scheduler.set_timesteps(N)
        x = START * scheduler.sigmas[0].float()
        for t in scheduler.timesteps[: calls * (N - 1)]:
            scaled = scheduler.scale_model_input(x, t)
            sigma = ((x / scaled) ** 2 - 1).sqrt().flatten()[0]  # whatever they call it, it is what they scale by
            x = scheduler.step((x - _data(self.ORACLE, x, sigma / 80)) / sigma, t, x, **step).prev_sample.float()
        return x, scheduler.sigmas.double().unique_consecutive()[:-1] / 80 if name != "KDPM2DiscreteScheduler" else scheduler.sigmas

    def _ours(self, solver: Solver, times: Tensor, noise: list[Tensor] | None = None) -> Tensor:
        x = START.double() * times[0] * 80
        return walk(solver, self.ORACLE, x, times, noise=None if noise is None else lambda step, _: noise[step].double()).float()

    @pytest.mark.parametrize(
        ("solver", "name", "calls"),
        [
            (Euler(), "EulerDiscreteScheduler", 1),
            (Heun(), "HeunDiscreteScheduler", 2),
            (AdamsBashforth(order=4), "LMSDiscreteScheduler", 1),
            (DEIS(order=4, variable="ratio"), "LMSDiscreteScheduler", 1),
        ],
        ids=lambda value: getattr(value, "kind", str(value)),
    )
    def test_deterministic(self, solver: Solver, name: str, calls: int) -> None:
        theirs, times = self._theirs(name, calls)
        torch.testing.assert_close(self._ours(solver, times), theirs, atol=1e-4, rtol=1e-4)

    def test_kdpm2_is_dpm_solver_2(self) -> None:
        theirs, sigmas = self._theirs("KDPM2DiscreteScheduler", 2)
        times = torch.cat((sigmas[:1], sigmas[1 : 2 * N - 2 : 2])).double() / 80
        torch.testing.assert_close(self._ours(DPMSolver(order=2), times), theirs, atol=1e-4, rtol=1e-4)

    def test_ancestral(self) -> None:
        theirs, times = self._theirs("EulerAncestralDiscreteScheduler", generator=torch.Generator().manual_seed(7))
        generator = torch.Generator().manual_seed(7)
        noise = [torch.randn(START.shape, generator=generator) for _ in range(N - 1)]
        torch.testing.assert_close(self._ours(Ancestral(), times, noise), theirs, atol=1e-4, rtol=1e-4)
