import math

import pytest
import torch

from anylatent.condition import Condition
from anylatent.conditioners.base import Conditions
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.engine import Request, sample
from anylatent.node import Node
from anylatent.objective import Objective, StreamObjective, UniformTimes
from anylatent.paths import EDM, Bridge, Brownian, Cosine, GaussianPath, Geometric, LinearBeta, Logistic, Path, Rectified, Sigmoid
from anylatent.sampling import Sampling
from anylatent.schedules import Rho
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.heun import Heun
from anylatent.spec import StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.paths import PathContract

PATHS = [
    Rectified(), Cosine(), EDM(), EDM(sigma_max=5),
    LinearBeta(), LinearBeta(keeps="sum", shift=2), Sigmoid(begin=-3, left=1e-3), Logistic(), Geometric(), Brownian(spread=2),
    Bridge(source="other"), Bridge(reference=EDM(sigma_max=3), source="other"), Bridge(reference=LinearBeta(beta_max=8), source="other"),
]  # fmt: skip


class TestCorePaths(PathContract):
    @pytest.fixture(scope="class", params=PATHS, ids=lambda path: path.key())
    @classmethod
    def path(cls, request: pytest.FixtureRequest) -> GaussianPath:
        return request.param


def test_the_linear_path_is_ddpms() -> None:
    """Products of 1 - beta over 1,000 steps, as in the independent implementation, within its discretisation."""
    from diffusers import DDPMScheduler

    products = DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear").alphas_cumprod.double()
    t = (torch.arange(1000, dtype=torch.float64) + 1) / 1000
    torch.testing.assert_close(LinearBeta().alpha(t) ** 2, products, atol=2e-3, rtol=0)


def test_the_sigmoid_path_is_the_published_one() -> None:
    """Chen 2023, 2301.10972, algorithm 1, but for what is left at t = 1."""
    t = torch.linspace(0, 1, 50, dtype=torch.float64)

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    published = torch.tensor([(sigmoid(3) - sigmoid(6 * time - 3)) / (sigmoid(3) - sigmoid(-3)) for time in t.tolist()])
    torch.testing.assert_close(Sigmoid(left=1e-9).alpha(t) ** 2, published.double(), atol=1e-6, rtol=0)


def test_the_logistic_path_has_finite_slopes_at_the_data() -> None:
    zero = torch.zeros((), dtype=torch.float64)
    assert float(Logistic().sigma_dot(zero)) == pytest.approx(7.5 * math.exp(-4.5))
    assert not LinearBeta().sigma_dot(zero).isfinite()
    late = torch.tensor([0.5, 0.7, 0.9], dtype=torch.float64)
    ratio = Logistic().sigma(late) / Logistic().alpha(late)
    torch.testing.assert_close(ratio + math.exp(-4.5), (7.5 * (late - 0.6)).exp())


def test_shift_moves_the_log_snr() -> None:
    t = torch.tensor([0.2, 0.8], dtype=torch.float64)
    here, there = LinearBeta(), LinearBeta(shift=4)
    torch.testing.assert_close(there.sigma(t) / there.alpha(t), 4 * here.sigma(t) / here.alpha(t))


BRIDGES = {
    # a, b and c^2 as their authors write them
    "brownian": (Bridge(reference=Brownian(spread=0.7), source="other"), lambda t: (1 - t, t, 0.49 * t * (1 - t))),
    "ddbm-ve": (Bridge(reference=EDM(sigma_max=3), source="other"), lambda t: (1 - t**2, t**2, 9 * t**2 * (1 - t**2))),
}


@pytest.mark.parametrize("kind", BRIDGES)
def test_bridges_have_the_published_coefficients(kind: str) -> None:
    """Brownian: 2302.05872, eq. 11 at constant beta; VE: Zhou et al. 2023, 2309.16948, table 1."""
    bridge, published = BRIDGES[kind]
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    a, b, c = bridge.coefficients(t)
    for found, expected in zip((a, b, c**2), published(t), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-9)


def test_the_vp_bridge_is_the_reference_given_its_end() -> None:
    """Bayes' rule on the Gaussian reference: p(x_t | x0, x_1), by conditioning the joint of x_t and x_1 given x0."""
    path = LinearBeta(beta_max=6)
    bridge, one = Bridge(reference=path, source="other"), torch.ones((), dtype=torch.float64)
    for time in (0.2, 0.5, 0.9):
        t = torch.tensor(time, dtype=torch.float64)
        alpha, var = path.alpha(t), path.sigma(t) ** 2
        kept = path.alpha(one) / alpha
        gain = var * kept / path.sigma(one) ** 2  # Cov(x_t, x_1) / Var(x_1), given x0
        expected = (alpha - gain * path.alpha(one), gain, (var - gain * kept * var).sqrt())
        for found, value in zip(bridge.coefficients(t), expected, strict=True):
            torch.testing.assert_close(found, value, atol=1e-12, rtol=1e-9)


def test_a_bridge_begins_at_its_source_and_ends_at_the_data() -> None:
    x0, noise, source = torch.randn(3, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    bridge = Bridge(source="other")
    one, zero = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    assert torch.equal(bridge.shown(bridge.corrupt(x0, noise, one), one, source), source)
    assert torch.equal(bridge.shown(bridge.corrupt(x0, noise, zero), zero, source), x0)
    a, b, c = bridge.coefficients(torch.full((1, 1, 1), 0.3))
    seen = bridge.shown(bridge.corrupt(x0, noise, torch.full((1, 1, 1), 0.3)), torch.full((1, 1, 1), 0.3), source)
    torch.testing.assert_close(seen * (a**2 + b**2 + c**2).sqrt(), a * x0 + b * source + c * noise)


def test_what_cannot_be_a_bridge_is_refused() -> None:
    for given in ({}, {"source": ""}):
        with pytest.raises(ValueError, match="path 'bridge' goes between two streams: name the other one as `source`"):
            Bridge(**given)
    with pytest.raises(ValueError, match="'cosine' leaves no signal at t = 1 to pin: use brownian, edm, vp or ve"):
        Bridge(reference=Cosine(), source="other")
    with pytest.raises(ValueError, match="leaves no signal"):
        Bridge(reference=Bridge(source="other"), source="other")

    class Jump(Path, kind="jump"):
        """No Gaussian."""

    with pytest.raises(ValueError, match="a bridge needs a Gaussian reference, given 'jump'"):
        Bridge(reference=Jump(), source="other")
    with pytest.raises(
        ValueError, match=r"its tokens are \(1, 4, 2\) \(rows, tokens, width\), those of its source 'b' \(1, 5, 2\); tokenize both"
    ):
        Bridge(source="b").shown(torch.zeros(1, 4, 2), torch.full((1, 1, 1), 0.5), torch.zeros(1, 5, 2))
    assert "the bridge of stream 'a' begins from itself" in (Bridge(source="a").refuses(StreamSpec(name="a", width=1)) or "")


# --- bridges at work


def moved(bridge: Bridge, solver: Ancestral | DDIM, t: float, s: float) -> tuple[float, float, float, float]:
    """What one step makes of X_t, the predicted data, the source and new noise."""
    times = torch.tensor([t, s], dtype=torch.float64)
    row = solver.table(bridge, times)[0].tolist()
    (a_t, b_t, c_t), (a_s, b_s, c_s) = (tuple(float(each) for each in bridge.coefficients(time)) for time in times)
    size_t, size_s = math.hypot(a_t, c_t), math.hypot(a_s, c_s)
    kept = size_s * row[0] / size_t
    return kept, size_s * row[1], b_s - kept * b_t, size_s * row[2] if len(row) > 2 else 0.0


def test_ancestral_steps_are_those_of_the_pinned_brownian_motion() -> None:
    """X_s given X_t and X_0 of Brownian motion: mean between them, variance spread^2 s (t - s) / t, whatever the source."""
    for t, s in ((0.9, 0.4), (0.3, 0.1)):
        found = moved(Bridge(reference=Brownian(spread=0.7), source="other"), Ancestral(), t, s)
        assert found == pytest.approx((s / t, 1 - s / t, 0, 0.7 * math.sqrt(s * (t - s) / t)), abs=1e-9)


@pytest.mark.parametrize("reference", [Brownian(), EDM(sigma_max=2), LinearBeta(beta_max=5)], ids=Node.key)
def test_ddim_steps_are_those_of_dbim(reference: Path) -> None:
    """x_s = a_s x0 + b_s x1 + c_s / c_t (x_t - a_t x0 - b_t x1) (Zheng et al. 2024, 2405.15885, with rho = 0)."""
    bridge = Bridge(reference=reference, source="other")
    t, s = 0.8, 0.35
    (a_t, b_t, c_t), (a_s, b_s, c_s) = (
        [float(each) for each in bridge.coefficients(torch.tensor(time, dtype=torch.float64))] for time in (t, s)
    )
    expected = (c_s / c_t, a_s - c_s / c_t * a_t, b_s - c_s / c_t * b_t, 0.0)
    assert moved(bridge, DDIM(), t, s) == pytest.approx(expected, abs=1e-9)


PAIRED = (StreamSpec(name="made", width=2), StreamSpec(name="source", width=2, given=True))


class PairedOracle(Denoiser):
    """x0 = 0.5 + 0.8 x1 + 0.3 z, and E[x0 | x_t, x1] exactly."""

    def __init__(self, bridge: Bridge) -> None:
        corruptions = {"made": Corruption(bridge, "data"), "source": Corruption(Rectified(), "data")}
        super().__init__(DiTConfig(depth=1, width=8, heads=1).build(PAIRED, False), Conditions(8, {}), corruptions)
        self.bridge = bridge

    def forward(self, state, condition, sites=None, modulations=None):
        y, source, t = state["made"].values, state["source"].values, state["made"].time[..., None]
        mean, alpha, sigma = 0.5 + 0.8 * source, self.bridge.alpha(t), self.bridge.sigma(t)
        made = mean + alpha * 0.09 / (alpha**2 * 0.09 + sigma**2) * (y - alpha * mean)
        return {"made": made, "source": source}


CROSSINGS = [
    (DDIM(), 80, Brownian()), (Ancestral(), 120, Brownian()), (Heun(), 24, Brownian()),
    *((DPMpp2M(), 30, reference) for reference in (Brownian(), EDM(sigma_max=3), LinearBeta(beta_max=6))),
]  # fmt: skip


@pytest.mark.parametrize(("solver", "steps", "reference"), CROSSINGS, ids=lambda each: getattr(each, "kind", None))
def test_every_solver_crosses_a_bridge(solver: Solver, steps: int, reference: GaussianPath) -> None:
    """From paired Gaussians: the exact conditional mean and covariance of the data given the source, which is kept."""
    count = 300
    source = torch.randn(count, 3, 2, generator=torch.Generator().manual_seed(1))
    state = State.of({"made": Stream.of(torch.zeros(count, 3, 2)), "source": Stream.of(source)}, range(count))
    sampling = Sampling(steps=steps, solver=solver, schedule=Rho(rho=5, ratio_min=0.02, ratio_max=60))
    oracle = PairedOracle(Bridge(reference=reference, source="source"))
    made, _ = sample(oracle, Request(state, Condition(torch.zeros(count, 8)), sampling), rows=count)
    assert torch.equal(made["source"].values, source)
    left = made["made"].values - 0.5 - 0.8 * source
    assert abs(float(left.mean())) < 0.02
    assert abs(float(left.std()) - 0.3) < 0.02
    assert abs(float((left * source).mean())) < 0.02, "nothing of the source is left to explain"


@pytest.mark.slow
def test_one_network_learns_both_ways() -> None:
    """BDBM: each stream is bridged from the other, one of them given in every row; both conditional means and spreads are met."""
    specs = tuple(spec.model_copy(update={"given": False}) for spec in PAIRED)
    ways = {name: StreamObjective(path=Bridge(source=other), prediction="data") for name, other in (("made", "source"), ("source", "made"))}
    objective = Objective(given=1, times=UniformTimes(), streams=ways)
    assert objective.refusals(specs) == []
    torch.manual_seed(0)
    corruptions = {spec.name: Corruption(*objective.of(spec.name)) for spec in specs}
    denoiser = Denoiser(DiTConfig(depth=2, width=64, heads=2).build(specs, False), Conditions(64, {}), corruptions)
    optimizer = torch.optim.Adam(denoiser.parameters(), 2e-3)

    def pairs(seed: int, count: int) -> State:
        source, noise = torch.randn(2, count, 1, 2, generator=torch.Generator().manual_seed(seed))
        made = 0.8 * source + 0.6 * noise  # of size 1, so the way back is source = 0.8 made + 0.6 noise
        return State.of({"made": Stream.of(made), "source": Stream.of(source)}, range(seed * 1000, seed * 1000 + count))

    for step in range(500):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - step / 500)
        objective.loss(denoiser, pairs(step + 1, 256), denoiser.conditions.null(256), step).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    denoiser.eval().requires_grad_(False)
    sampling = Sampling(steps=30, solver=DPMpp2M(), schedule=Rho(rho=5, ratio_min=0.02, ratio_max=60))
    for made, given in (("made", "source"), ("source", "made")):
        state = pairs(0, 500).with_kept(given, torch.ones(500, 1, dtype=torch.bool))
        made_of, _ = sample(denoiser, Request(state, denoiser.conditions.null(500), sampling), rows=500)
        x, y = made_of[made].values[:, 0], made_of[given].values[:, 0]
        assert torch.equal(y, state[given].values[:, 0])
        assert abs(float((x * y).mean() / (y * y).mean()) - 0.8) < 0.06
        assert abs(float((x - 0.8 * y).std()) - 0.6) < 0.06
