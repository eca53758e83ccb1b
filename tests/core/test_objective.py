import math

import pytest
import torch
from pydantic import ValidationError

from anylatent.components import core_components
from anylatent.condition import Condition
from anylatent.conditioners.base import Conditions
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.node import Components, Node
from anylatent.objective import (
    P2,
    Coupling,
    DirectionLoss,
    EDMWeighting,
    Independent,
    LogitNormalTimes,
    LogNormalTimes,
    LogSNRTimes,
    Loss,
    MaxSNR,
    MinSNR,
    Nearest,
    Objective,
    OptimalTransport,
    Robust,
    SoftMinSNR,
    Squared,
    Stored,
    StreamObjective,
    TimeDensity,
    UniformTimes,
    Unweighted,
    UShapedTimes,
    Weighting,
)
from anylatent.objective.coupling import assignment
from anylatent.paths import EDM, Bridge, Brownian, Cosine, LinearBeta, Path, Rectified
from anylatent.paths.vocabulary import Masked
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.backbones import random_state, shaken, two_stream_specs
from anylatent.testing.objectives import (
    CouplingContract,
    LossContract,
    TimeDensityContract,
    WeightingContract,
    meeting_of,
    part_of,
)

DENSITIES = [
    UniformTimes(), LogitNormalTimes(), LogNormalTimes(), LogSNRTimes(), LogSNRTimes(shape="normal", mean=1, scale=2),
    LogSNRTimes(shape="cauchy"), LogSNRTimes(shape="logistic", scale=1), LogSNRTimes(shape="sech", scale=1),
    UShapedTimes(), UShapedTimes(steepness=0.01),
]  # fmt: skip
WEIGHTINGS = [Unweighted(), MinSNR(), MinSNR(gamma=1), SoftMinSNR(), MaxSNR(), EDMWeighting(), P2(), P2(gamma=0.5, k=2)]
LOSSES = [
    Squared(), Robust(), Robust(shape=0), Robust(shape=-2, scale=2), Robust(shape=2),
    DirectionLoss(), DirectionLoss(of=Robust(), weight=0.3),
]  # fmt: skip
COUPLINGS = [Independent(), Nearest(), Nearest(candidates=1), OptimalTransport(), Stored()]


class TestTimes(TimeDensityContract):
    @pytest.fixture(scope="class", params=DENSITIES, ids=Node.key)
    @classmethod
    def density(cls, request: pytest.FixtureRequest) -> TimeDensity:
        return request.param


class TestWeightings(WeightingContract):
    @pytest.fixture(scope="class", params=WEIGHTINGS, ids=Node.key)
    @classmethod
    def weighting(cls, request: pytest.FixtureRequest) -> Weighting:
        return request.param


class TestLosses(LossContract):
    @pytest.fixture(scope="class", params=LOSSES, ids=Node.key)
    @classmethod
    def loss(cls, request: pytest.FixtureRequest) -> Loss:
        return request.param


class TestCouplings(CouplingContract):
    @pytest.fixture(scope="class", params=COUPLINGS, ids=Node.key)
    @classmethod
    def coupling(cls, request: pytest.FixtureRequest) -> Coupling:
        return request.param


# --- times


def test_densities_of_log_snr_have_the_shape_that_they_name() -> None:
    """The share of rows below any lambda is the distribution's, on any path: by scipy."""
    from scipy import stats

    u = ((torch.arange(2000) + 0.5) / 2000).double()
    for shape, theirs in (("normal", stats.norm), ("laplace", stats.laplace), ("cauchy", stats.cauchy)):
        for path in (Rectified(), Cosine(), LinearBeta(beta_max=30)):
            times = LogSNRTimes(shape=shape, mean=-0.5, scale=0.4).times(u, path)  # type: ignore[arg-type]
            lam = 2 * (path.alpha(times) / path.sigma(times)).log()
            inside = (times > 2e-6) & (times < 1 - 2e-6) & (lam > -9)
            share = torch.from_numpy(theirs.cdf(lam.numpy(), -0.5, 0.4))
            torch.testing.assert_close(share[inside], 1 - u[inside], atol=1e-6, rtol=0)


def test_logistic_and_sech_are_uniform_times_on_their_paths() -> None:
    u = ((torch.arange(100) + 0.5) / 100).double()
    torch.testing.assert_close(LogSNRTimes(shape="logistic", scale=1).times(u, Rectified()), u, atol=1e-9, rtol=0)
    torch.testing.assert_close(LogSNRTimes(shape="sech", scale=1).times(u, Cosine()), u, atol=1e-9, rtol=0)


def test_u_shaped_times_have_the_published_density() -> None:
    """Lee et al. 2024, 2405.20320: half of t ~ a e^(a t) / (e^a - 1), half mirrored: the quantile inverts its integral."""
    u = ((torch.arange(100) + 0.5) / 100).double()
    t, a = UShapedTimes(steepness=4).times(u, Rectified()), 4.0
    integral = 0.5 * (((a * t).exp() - 1) + (math.exp(a) - (a * (1 - t)).exp())) / (math.exp(a) - 1)
    torch.testing.assert_close(integral, u, atol=1e-9, rtol=0)
    torch.testing.assert_close(UShapedTimes(steepness=1e-3).times(u, Rectified()), u, atol=1e-4, rtol=0)


# --- weightings


def test_weightings_are_the_published_ones() -> None:
    """In the kind of prediction that each paper writes, at a few SNRs, on DDPM's path."""
    path = LinearBeta()
    for snr in (1e-3, 0.2, 1.0, 7.0, 400.0):
        t = path.time_of(torch.tensor(snr, dtype=torch.float64) ** -0.5)
        sigma = snr**-0.5
        for weighting, kind, expected in (
            (MinSNR(gamma=5), "noise", min(snr, 5) / snr),
            (MinSNR(gamma=5), "data", min(snr, 5)),
            (MaxSNR(), "noise", max(snr, 1) / snr),
            (P2(), "noise", 1 / (1 + snr)),
            (SoftMinSNR(gamma=4), "data", 1 / (sigma**2 + 1 / 4)),
            (SoftMinSNR(gamma=math.e**-2), "noise", math.e**-2 * torch.tensor(2 + math.log(snr)).neg().sigmoid().item() / math.e**-2),
            (EDMWeighting(), "data", (sigma**2 + 1) / sigma**2),
        ):
            assert float(weighting.factor(path, kind, t)) == pytest.approx(expected, rel=1e-5), (weighting.kind, snr)  # type: ignore[arg-type]
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    torch.testing.assert_close(EDMWeighting().factor(EDM(), "preconditioned", t), torch.ones_like(t))
    torch.testing.assert_close(P2(gamma=0).factor(path, "noise", t), torch.ones_like(t))


# --- losses


def test_robust_losses_are_the_known_ones() -> None:
    prediction, target = torch.randn(2, 2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    error, c = prediction - target, 0.3
    square = Squared().of_tokens(prediction, target)
    assert torch.equal(Robust(shape=2).of_tokens(prediction, target), square)
    for shape, expected in (
        (1, 2 * c * ((error**2 + c**2).sqrt() - c)),
        (0, 2 * c**2 * (1 + error**2 / (2 * c**2)).log()),
        (-2, 4 * c**2 * error**2 / (error**2 + 4 * c**2)),
    ):
        torch.testing.assert_close(Robust(shape=shape, scale=c).of_tokens(prediction, target), expected.mean(-1))
    torch.testing.assert_close(Robust(scale=1e4).of_tokens(prediction, target), square, atol=1e-6, rtol=1e-6)


def test_the_direction_is_one_minus_the_cosine() -> None:
    prediction, target = torch.randn(2, 2, 5, 3, generator=torch.Generator().manual_seed(0))
    square = Squared().of_tokens(prediction, target)
    cosine = torch.nn.functional.cosine_similarity(prediction, target, dim=-1)
    torch.testing.assert_close(DirectionLoss(weight=0.5).of_tokens(prediction, target), square + 0.5 * (1 - cosine))
    assert torch.equal(DirectionLoss(weight=0).of_tokens(prediction, target), square)


# --- couplings


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_the_assignment_is_scipys(n: int) -> None:
    from scipy.optimize import linear_sum_assignment

    for seed in range(5):
        costs = torch.randn(n, n, generator=torch.Generator().manual_seed(seed)).double()
        found = assignment(costs)
        assert sorted(found.tolist()) == list(range(n))
        rows, columns = linear_sum_assignment(costs.numpy())
        assert float(costs[torch.arange(n), found].sum()) == pytest.approx(float(costs[rows, columns].sum()))


def test_transport_changes_noise_only_among_rows_that_are_alike() -> None:
    """Of one condition and one length, and there at the least whole distance of all permutations."""
    from scipy.optimize import linear_sum_assignment

    meeting = meeting_of(rows=24)
    before, after = Independent().prior(meeting)["s"], OptimalTransport().prior(meeting)["s"]
    distance = ((meeting.clean["s"].values[:, None] - before[None]).square().sum(-1) * meeting.made["s"][:, None]).sum(-1)
    changed = 0
    for label in (0, 1):
        for short in (True, False):
            group = [row for row in range(24) if row % 2 == label and (row % 3 == 0) == short]
            order = [next(j for j in group if torch.equal(after[i], before[j])) for i in group]
            assert sorted(order) == group, "each noise is used once, by rows of its group"
            best = linear_sum_assignment(distance[group][:, group].numpy())[1]
            assert float(distance[group, order].sum()) == pytest.approx(float(distance[group, [group[j] for j in best]].sum()), rel=1e-5)
            changed += order != group
    assert changed == 4
    assert torch.equal(OptimalTransport().prior(part_of(meeting, [3]))["s"], before[3:4]), "alone there is nobody to change with"


def test_transport_keeps_the_noise_of_each_condition_normal() -> None:
    """Across labels it would not: rows of a label would have the noise nearest to it."""
    values = torch.cat((torch.full((60, 1, 1), 3.0), torch.full((60, 1, 1), -3.0)))
    clean, labels = State.of({"s": Stream.of(values)}), torch.arange(120) // 60
    condition = Condition(torch.nn.functional.one_hot(labels, 2).float())
    meeting = meeting_of()
    for given, least, most in ((condition, 0.0, 0.35), (Condition(torch.zeros(120, 2)), 0.7, 1.0)):
        met = type(meeting)(clean, {"s": clean["s"].mask}, meeting.prior, given, 0)
        noise = OptimalTransport().prior(met)["s"]
        assert least <= abs(float(noise[:60].mean())) <= most


def test_tokens_that_are_not_made_have_no_say() -> None:
    """Noise of given tokens and of padding changes no choice."""
    meeting = meeting_of()
    given = {"s": meeting.made["s"] & (torch.arange(6) > 1)}
    for coupling in (Nearest(), OptimalTransport()):
        choice = coupling.prior(type(meeting)(meeting.clean, given, meeting.prior, meeting.condition, 0))["s"]
        values = torch.where(given["s"][..., None], meeting.clean["s"].values, 100.0)
        other = type(meeting)(meeting.clean.with_values({"s": values}), given, meeting.prior, meeting.condition, 0)
        assert torch.equal(coupling.prior(other)["s"], choice)


def test_the_nearest_of_several_draws_is_chosen() -> None:
    meeting = meeting_of()
    assert torch.equal(Nearest(candidates=1).prior(meeting)["s"], Independent().prior(meeting)["s"])
    chosen = Nearest(candidates=5).prior(meeting)["s"]
    draws = torch.stack([meeting.drawn(draw)["s"] for draw in range(5)])
    distances = ((draws - meeting.clean["s"].values).square().sum(-1) * meeting.made["s"]).sum(-1)
    assert torch.equal(chosen, draws[distances.argmin(0), torch.arange(12)])
    assert len(distances.argmin(0).unique()) > 1


def test_stored_pairs_are_a_samples_own_noise() -> None:
    """A row of the data has the noise that a request of that seed begins with, whatever the training step and the row's seed."""
    meeting = meeting_of(step=9)
    chosen, rows = torch.tensor([4, 0, 7]), torch.tensor([34, 30, 37])
    clean = State.of({"s": meeting.clean["s"].map(lambda x: x[chosen])}, seeds=[1, 2, 3], rows=rows)
    met = type(meeting)(clean, {"s": clean["s"].mask}, meeting.prior, None, 9)
    asked = State.of({"s": clean["s"]}, seeds=rows)
    assert torch.equal(Stored().prior(met)["s"], asked.noise("s", -1, 0))


# --- the whole


def denoiser_of(objective: Objective, specs: tuple[StreamSpec, ...] = two_stream_specs()) -> Denoiser:
    torch.manual_seed(0)
    backbone = DiTConfig(depth=1, width=16, heads=2).build(specs, False)
    corruptions = {spec.name: Corruption(*objective.of(spec.name)) for spec in specs}
    denoiser = Denoiser(backbone, Conditions(16, {}), corruptions)
    shaken(denoiser, size=0.05)
    return denoiser.eval().requires_grad_(False)


def clean_state(rows: int = 6) -> State:
    """Tokens at time 0, ragged; the cloud is centred."""
    state = random_state(two_stream_specs(), [3 + i % 3 for i in range(rows)])
    cloud = state["cloud"]
    values = Rectified().project(two_stream_specs()[1], cloud.values, cloud.mask)
    return state.with_values({"cloud": values}).with_time({name: torch.zeros(rows, 5) for name in ("field", "cloud")})


@pytest.mark.parametrize("completion", [0.0, 0.6])
def test_the_neutral_objective_is_the_plain_squared_error(completion: float) -> None:
    """Bit for bit what a user would write: independent noise, no weights, squared error over tokens that are made."""
    objective = Objective(completion=completion)
    denoiser, state = denoiser_of(objective), clean_state()
    nothing = denoiser.conditions.null(6)
    noised, targets = objective.corrupt(state, denoiser, 3)
    expected = torch.zeros(6)
    for spec in denoiser.specs:
        stream = noised[spec.name]
        x1 = Rectified().prior(spec, state.noise(spec.name, 3, 0), state[spec.name].mask)
        t = stream.time[..., None]
        assert torch.equal(stream.values, (1 - t) * state[spec.name].values + t * x1)
        counts = (stream.mask & ~stream.keep & (stream.time < 1)).float()
        assert torch.equal((targets[spec.name] * counts[..., None]), (x1 - state[spec.name].values) * counts[..., None])
        error = (denoiser.predict(noised, nothing)[spec.name].float() - targets[spec.name]).square().mean(-1)
        expected = expected + 1.0 * (error * counts).sum(1) / counts.sum(1).clamp(min=1)
    assert torch.equal(objective.loss(denoiser, state, nothing, 3), expected)
    for neutral in (
        {"weighting": Unweighted()}, {"error": DirectionLoss(weight=0)}, {"error": Robust(shape=2)}, {"coupling": Nearest(candidates=1)},
        {"forcing": 0},
    ):  # fmt: skip
        other = objective.model_copy(update=neutral)
        assert torch.equal(other.loss(denoiser, state, nothing, 3), expected), neutral


ALL = [
    Objective(weighting=MinSNR()), Objective(path=EDM(), prediction="preconditioned", weighting=EDMWeighting(), times=LogNormalTimes()),
    Objective(error=Robust(), times=UShapedTimes(), coupling=Nearest()),
    Objective(path=LinearBeta(), prediction="noise", weighting=SoftMinSNR()),
    Objective(forcing=0.7, completion=0.5, error=DirectionLoss(), given=0.3, absent=0.3),
    Objective(path=Brownian(), prediction="data", absent=0.5),
    Objective(streams={"cloud": StreamObjective(weighting=P2(), error=Robust(shape=0), path=Cosine())}, together=False),
]  # fmt: skip


@pytest.mark.parametrize("objective", ALL, ids=Node.key)
def test_a_rows_loss_is_its_own(objective: Objective) -> None:
    """Alone as in a batch; finite; padding has no say."""
    denoiser, state = denoiser_of(objective), clean_state(24)
    losses = objective.loss(denoiser, state, denoiser.conditions.null(24), 2)
    assert losses.isfinite().all()
    assert (losses >= 0).all()
    for row in (1, 9):
        alone = objective.loss(denoiser, state.select([row]).trimmed(), denoiser.conditions.null(1), 2)
        torch.testing.assert_close(alone, losses[row : row + 1], atol=1e-5, rtol=1e-4)


def test_weights_multiply_each_tokens_error() -> None:
    plain, weighted = Objective(), Objective(weighting=MinSNR(gamma=1))
    denoiser, spec = denoiser_of(plain, two_stream_specs()[:1]), two_stream_specs()[0]
    state = clean_state()
    state = State(streams={"field": state["field"]}, rows=state.rows, seeds=state.seeds)
    noised, _ = plain.corrupt(state, denoiser, 0)
    t = noised["field"].time[:, 0]
    factor = ((1 - t) / t).square().clamp(max=1) * t**2  # a velocity is wrong by 1 / t where the data is by 1
    losses = plain.loss(denoiser, state, denoiser.conditions.null(6), 0)
    torch.testing.assert_close(weighted.loss(denoiser, state, denoiser.conditions.null(6), 0), losses * factor)
    assert spec.name == "field"


def test_forcing_gives_places_times_of_their_own() -> None:
    axes = (AxisSpec(name="t", unit="s"), AxisSpec(name="x", unit="px"))
    spec = StreamSpec(name="s", width=2, axes=axes)
    positions = torch.cartesian_prod(torch.arange(4.0) / 25, torch.arange(3.0)).expand(400, -1, -1)
    state = State.of({"s": Stream.of(torch.randn(400, 12, 2), positions)})
    objective = Objective(forcing=0.25, times=UniformTimes())
    denoiser = denoiser_of(objective, (spec,))
    noised, _ = objective.corrupt(state, denoiser, 0)
    time = noised["s"].time.unflatten(1, (4, 3))
    assert (time == time[:, :, :1]).all(), "tokens of one place share a time"
    apart = (time[:, 1:, 0] != time[:, :1, 0]).any(1)
    assert abs(float(apart.float().mean()) - 0.25) < 0.06
    own = time[apart][:, :, 0]
    assert abs(float(own.mean()) - 0.5) < 0.06
    assert abs(float(torch.corrcoef(own.T)[0, 1])) < 0.3
    alone, _ = objective.corrupt(state.select([7]), denoiser, 0)
    assert torch.equal(alone["s"].time[0], noised["s"].time[7])


def test_every_part_reads_back_from_a_recipe() -> None:
    """By kind, with every number written out."""
    components = Components(core_components())
    for fields in (
        *({"times": each} for each in DENSITIES), *({"weighting": each} for each in WEIGHTINGS), *({"error": each} for each in LOSSES),
        *({"coupling": each} for each in COUPLINGS if not isinstance(each, Stored)),
    ):  # fmt: skip
        objective = Objective(**fields)
        assert Objective.model_validate(objective.model_dump(), context={"components": components}) == objective
    with pytest.raises(ValidationError, match="there is no weighting 'min-snrr'; did you mean 'min-snr'"):
        Objective.model_validate({"weighting": {"kind": "min-snrr"}}, context={"components": components})


def test_what_does_not_suit_is_refused() -> None:
    class Jump(Path, kind="jump"):
        """No Gaussian."""

        predictions = ("data",)

    for part in ({"times": LogSNRTimes()}, {"times": LogNormalTimes()}, {"weighting": MinSNR()}):
        kind = next(iter(part.values())).kind
        with pytest.raises(ValidationError, match=rf"'{kind}' needs? a Gaussian path, given 'jump'"):
            Objective(path=Jump(), **part)
        with pytest.raises(ValidationError, match=rf"'{kind}' needs? a Gaussian path, given 'jump'"):
            Objective(streams={"a": StreamObjective(path=Jump())}, **part)
    a, b, wide = (StreamSpec(name=name, width=width) for name, width in (("a", 2), ("b", 2), ("wide", 3)))
    assert Objective(streams={"c": StreamObjective()}).refusals((a, b)) == [
        "there is no stream 'c' for the objective: the tokenizer makes ['a', 'b']"
    ]
    bridged = Objective(path=Bridge(source="b"))
    assert bridged.refusals((a, b.model_copy(update={"given": True}))) == []
    assert "which training does not always give: set objective.given to 1" in bridged.refusals((a, b))[0]
    assert "stream 'a' of width 2 is bridged from 'wide'" in Objective(path=Bridge(source="wide")).refusals((a, wide))[0]
    both = Objective(given=1, streams={name: StreamObjective(path=Bridge(source=other)) for name, other in ("ab", "ba")})
    assert both.refusals((a, b)) == []
    assert Objective(path=Jump(), times=UniformTimes()).refusals((a,)) == ["path 'jump' of stream 'a' predicts data, given 'velocity'"]
    assert "coupling 'nearest' measures distances" in Objective(path=Jump(), prediction="data", coupling=Nearest()).refusals((a,))[0]


def test_a_loss_that_a_discrete_path_does_not_listen_to_is_refused() -> None:
    """It has its own; of several streams the common error is the others'."""
    words = StreamSpec(name="words", width=4, kind="categorical", prior="mask")
    field = StreamSpec(name="field", width=2)
    said = {"path": Masked(), "prediction": "logits", "times": UniformTimes()}
    assert Objective(**said).refusals((words,)) == []
    (refusal,) = Objective(**said, error=Robust()).refusals((words,))
    assert refusal == (
        "path 'masked' of stream 'words' has a loss of its own and no use for the error 'robust': leave it out, and choose the path's "
        "`weighting` (bound or even)"
    )
    own = StreamObjective(**said)
    assert Objective(error=Robust(), streams={"words": own}).refusals((words, field)) == []
    deaf = own.model_copy(update={"error": Robust()})
    assert "no use for the error 'robust'" in Objective(streams={"words": deaf}).refusals((words, field))[0]
    with pytest.raises(ValidationError, match="weighting 'min-snr' needs a Gaussian path, given 'masked'"):
        Objective(**said, weighting=MinSNR())
