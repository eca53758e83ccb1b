"""Set metrics on constructed samples, where the right answer is known."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from toys import Toy, Waves

from anylatent.conditioners.base import Conditions
from anylatent.conditioners.standard import ClassConfig, NumberConfig
from anylatent.data import DatasetConfig, Record
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.generation import RowGenerator
from anylatent.known import Known
from anylatent.metrics.base import Evidence, Features, Measure, Metric, TooFewSamples
from anylatent.metrics.denoiser_knows import DiffusionClassifier, LikelihoodMetric, Probe
from anylatent.metrics.distinct import Distinct
from anylatent.metrics.flat import Flat
from anylatent.metrics.frechet import Frechet, frechet_distance
from anylatent.metrics.istd import ISTD, changes
from anylatent.metrics.memorisation import Memorisation
from anylatent.metrics.neighbours import BLOCK_NUMBERS, nearest
from anylatent.metrics.precision_recall import DensityCoverage, PrecisionRecall, covered
from anylatent.metrics.reference import compare
from anylatent.modality import Modality
from anylatent.paths import Masked
from anylatent.paths.rectified import Rectified
from anylatent.random import seed_of
from anylatent.sampling import Sampling
from anylatent.solvers.heun import Heun
from anylatent.state import State
from anylatent.testing.backbones import shaken
from anylatent.testing.metrics import Listed, MetricCase, MetricContract
from anylatent.testing.tokenizers import TokenizerCase
from anylatent.tokenizers.grid import GridConfig


class NoData(DatasetConfig, kind="test-none"):
    """The evidence brings its own."""


class Words(Modality, kind="test-words"):
    """Samples are words, the same whatever their case; empty ones have no identity."""

    def identity(self, sample: str) -> str:
        if not sample:
            raise ValueError("an empty word is no word")
        return sample.lower()


def evidence(samples: Sequence[Any], train: Sequence[Any], test: Sequence[Any] = (), seed: int = 0) -> Evidence:
    return Evidence(Words(data=NoData()), list(samples), [{}] * len(samples), Listed(train), Listed(test), seed=seed)


def points(n: int, width: int = 3, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale + shift


def by_name(measures: list[Measure]) -> dict[str, Measure]:
    for measure in measures:
        assert measure.low <= measure.value <= measure.high, measure
    return {measure.name: measure for measure in measures}


def rotation(width: int, seed: int) -> Tensor:
    return torch.linalg.qr(points(width, width, seed)).Q


class TestSetMetrics(MetricContract):
    """On flat features of 40 samples beside 160 real ones."""

    @pytest.fixture(scope="class", params=[Frechet, PrecisionRecall, DensityCoverage, Memorisation])
    @classmethod
    def case(cls, request) -> MetricCase:
        real = points(160)
        return MetricCase(request.param(features=Flat()), evidence(points(40, seed=1), real[:120], real[120:]))


class TestDistinct(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> MetricCase:
        return MetricCase(Distinct(), evidence(["a", "A", "b", "c"], train=["b", "x"], test=["p", "q", "x", "P"]))


# ---------------------------------------------------------------------------------------------------------- Fréchet


@given(st.integers(0, 10**6), st.floats(0.1, 5), st.floats(0.1, 5), st.floats(-3, 3))
def test_frechet_of_commuting_gaussians_is_the_closed_form(seed, scale_a, scale_b, shift):
    """Equal eigenvectors: |mean difference|^2 + sum (sqrt(eigenvalue_a) - sqrt(eigenvalue_b))^2."""
    white = points(40, 3, seed)
    white = white - white.mean(0)
    white = white @ torch.linalg.inv(torch.linalg.cholesky(white.T.cov())).T
    a, b = white @ torch.diag(torch.tensor([1.0, scale_a, 2.0]).double()), white @ torch.diag(torch.tensor([1.0, scale_b, 0.5]).double())
    turned = rotation(3, seed + 1)
    expected = 3 * shift**2 + (scale_a - scale_b) ** 2 + 1.5**2
    assert frechet_distance(a @ turned, b @ turned + shift) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_frechet_of_gaussians_that_do_not_commute():
    """Against scipy's matrix square root of the plain product."""
    from scipy.linalg import sqrtm

    a, b = points(200, 5) @ points(5, 5, 1), points(300, 5, 2) @ points(5, 5, 3) + 1
    product = torch.from_numpy(sqrtm((a.T.cov() @ b.T.cov()).numpy()).real)
    expected = (a.mean(0) - b.mean(0)).square().sum() + a.T.cov().trace() + b.T.cov().trace() - 2 * product.trace()
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-6)


@given(st.integers(0, 10**6))
def test_frechet_is_symmetric_and_blind_to_order_and_to_rotation(seed):
    a, b = points(30, 4, seed), points(50, 4, seed + 1, shift=0.5, scale=2)
    turned = rotation(4, seed)
    value = frechet_distance(a, b)
    assert frechet_distance(b, a) == pytest.approx(value, rel=1e-6)
    assert frechet_distance(a[torch.randperm(30)], b) == pytest.approx(value, rel=1e-6)
    assert frechet_distance(a @ turned, b @ turned) == pytest.approx(value, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_frechet_stays_finite_with_fewer_samples_than_features():
    (measure,) = Frechet(features=Flat(), rounds=20).compute(evidence(points(12, 30, 1), points(60, 30, 2)))
    assert math.isfinite(measure.value)
    assert "fewer samples than the 30 features" in measure.note


def test_frechet_says_how_far_real_samples_are_at_the_same_size():
    real = points(400, 4)
    (same,) = Frechet(features=Flat()).compute(evidence(points(100, 4, 1), real[:300], real[300:]))
    (other,) = Frechet(features=Flat()).compute(evidence(points(100, 4, 1, shift=1.0), real[:300], real[300:]))
    assert same.floor == other.floor
    assert same.low <= same.floor <= same.high, "samples of the data's own distribution reach the floor"
    assert other.low > same.high
    assert other.value == pytest.approx(4.0, rel=0.35), "four axes, shifted by 1"
    assert "100 samples against 300 real ones" in same.note


def test_frechet_interval_covers_the_expected_value():
    """The interval is for what another 60 samples would give: it should hold the mean over many repeats in about 95 %."""
    sets = [(points(60, 3, seed), points(60, 3, seed + 10_000, shift=0.7)) for seed in range(80)]
    expected = sum(frechet_distance(a, b) for a, b in sets) / len(sets)
    held = 0
    for seed, (a, b) in enumerate(sets):
        (measure,) = Frechet(features=Fixed(a=a, b=b), rounds=60).compute(evidence([0] * 60, [1] * 120, seed=seed))
        held += measure.low <= expected <= measure.high
    assert 0.85 <= held / len(sets) <= 1.0


class Fixed(Features, kind="test-fixed"):
    """Chosen vectors: `a` for generated samples (0); for real ones (1) nothing for the probe, then `b`."""

    a: Tensor
    b: Tensor

    def compute(self, samples: Sequence[Any], evidence: Evidence) -> Tensor:
        return torch.cat((self.b, self.b)) if samples[0] else self.a

    def fingerprint(self, evidence: Evidence) -> str:
        return "fixed"

    def key(self) -> str:
        return "fixed"


# ------------------------------------------------------------------------------------- precision, recall, memorisation


def test_precision_and_recall_of_a_dropped_mode():
    """Real: two far clusters. Samples of one of them are all precise, and recall one half."""
    real = torch.cat((points(100, 2), points(100, 2, 1, shift=50)))
    measures = by_name(PrecisionRecall(features=Flat()).compute(evidence(points(100, 2, 2), real)))
    assert measures["precision"].value > 0.9
    assert 0.35 < measures["recall"].value < 0.6
    assert measures["recall"].floor > 0.9


def test_precision_and_recall_of_invented_samples():
    """Half of the samples are far from every real one."""
    samples = torch.cat((points(50, 2, 2), points(50, 2, 3, shift=50)))
    measures = by_name(PrecisionRecall(features=Flat()).compute(evidence(samples, points(200, 2))))
    assert 0.35 < measures["precision"].value < 0.55
    assert measures["recall"].value > 0.8


def test_the_manifold_by_hand():
    """Points 0, 1, 3 with k = 1: radii 1, 1, 2, so the manifold is [-1, 5]."""
    by = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    assert covered(torch.tensor([[-1.0], [-1.1], [2.5], [5.0], [5.1]]).double(), by, 1).tolist() == [1, 0, 1, 1, 0]


def test_density_and_coverage_of_the_datas_own_distribution():
    """Expected: density 1, coverage 1 - 2^-k (Naeem et al. 2020, section 3.3, for equal sizes)."""
    real, samples = points(800, 3), points(400, 3, 9)
    measures = by_name(DensityCoverage(features=Flat()).compute(evidence(samples, real)))
    assert measures["density"].value == pytest.approx(1, abs=0.15)
    assert measures["coverage"].value == pytest.approx(1 - 2**-5, abs=0.04)
    far = by_name(DensityCoverage(features=Flat()).compute(evidence(samples + 100, real)))
    assert far["density"].value == far["coverage"].value == 0


@given(st.integers(0, 10**6))
def test_manifolds_are_blind_to_order_and_to_rotation(seed):
    a, b, turned = points(25, 3, seed), points(25, 3, seed + 1), rotation(3, seed)
    value = covered(a, b, 3).mean()
    assert covered(a[torch.randperm(25)], b[torch.randperm(25)], 3).mean() == value
    assert covered(a @ turned, b @ turned, 3).mean() == pytest.approx(float(value), abs=0.05), "borders may fall to either side"


def test_copies_are_found_among_new_samples():
    train, test, new = points(500, 5), points(200, 5, 1), points(30, 5, 2)
    copies = by_name(Memorisation(features=Flat()).compute(evidence(torch.cat((new, train[:30])), train, test)))
    assert copies["copied"].value == pytest.approx(0.5, abs=0.06)
    assert copies["copied"].floor == pytest.approx(0.015)
    assert copies["nearest-train-ratio"].high < 0.7


def test_new_samples_are_not_taken_for_copies():
    """The data's own distribution: the interval of the ratio holds 1 nearly always, and 1 % of the samples are too close."""
    runs = [
        by_name(Memorisation(features=Flat()).compute(evidence(points(60, 5, s), points(300, 5, s + 1), points(200, 5, s + 2), seed=s)))
        for s in range(0, 90, 3)
    ]
    assert sum(run["nearest-train-ratio"].low < 1 < run["nearest-train-ratio"].high for run in runs) >= 25
    assert sum(run["copied"].value for run in runs) / len(runs) < 0.03


def test_memorisation_says_which_training_samples_it_did_not_see():
    measures = Memorisation(features=Flat(), limit=50).compute(evidence(points(20), points(80, seed=1), points(20, seed=2)))
    assert "50 training samples of 80: copies of the others are not seen" in measures[0].note


def test_nearest_works_in_blocks(monkeypatch):
    a, b = points(50), torch.cat((points(30, seed=1), points(50)[7:8]))
    whole = nearest(a, b)
    monkeypatch.setattr("anylatent.metrics.neighbours.BLOCK_NUMBERS", 70)
    assert BLOCK_NUMBERS > 70
    assert torch.equal(nearest(a, b)[0], whole[0])
    assert whole[0][7] == 0, "a copy is at distance 0, not at the rounding of a matrix product"
    assert whole[1][7] == 30


# ------------------------------------------------------------------------------------------------------------ distinct


def test_distinct_counts_unique_and_novel():
    measures = by_name(Distinct().compute(evidence(["a", "A", "b", "c", ""], train=["B", "x"], test=["p", "q", "x", "P"])))
    unique, novel = measures["unique"], measures["novel"]
    assert (unique.value, unique.n, unique.floor) == (0.75, 4, 0.75)
    assert (novel.value, novel.n, novel.floor) == (pytest.approx(2 / 3), 3, pytest.approx(2 / 3))
    assert "1 of 5 samples have no identity" in unique.note


def test_distinct_of_nothing_with_an_identity_is_nothing():
    measures = by_name(Distinct().compute(evidence(["", ""], train=["a"])))
    assert (measures["unique"].value, measures["unique"].n, measures["unique"].high) == (0.0, 0, 1.0)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("metric", [Frechet, PrecisionRecall, DensityCoverage, Memorisation])
def test_too_few_samples_are_refused(metric):
    with pytest.raises(TooFewSamples, match=rf"{metric.kind} needs at least 10 samples, given 9: ask for more with sample.count"):
        metric(features=Flat()).compute(evidence(points(9), points(100), points(100)))


def test_too_few_real_samples_are_refused():
    with pytest.raises(TooFewSamples, match=r"at least 10 generated and 20 real ones, given 50 and 19"):
        Frechet(features=Flat()).compute(evidence(points(50), points(10), points(9)))
    with pytest.raises(TooFewSamples, match=r"memorisation needs at least 10 held-out samples, the test split has 9"):
        Memorisation(features=Flat()).compute(evidence(points(50), points(50), points(9)))


def test_held_out_copies_leave_memorisation_nothing_to_compare_with():
    train = points(50)
    with pytest.raises(ValueError, match=r"each held-out sample is a copy of a training sample in flat features"):
        Memorisation(features=Flat()).compute(evidence(points(20, seed=1), train, train[:20]))


def test_features_that_are_not_finite_are_refused():
    samples = points(20)
    samples[3, 1] = float("nan")
    with pytest.raises(ValueError, match=r"features 'flat' of sample 3 are not finite \(1 of 20 samples\)"):
        Frechet(features=Flat()).compute(evidence(samples, points(100)))


def test_flat_features_refuse_what_is_no_array_of_one_shape():
    assert Flat().compute([torch.ones(2, 3), [[1, 2, 3], [4, 5, 6]]], evidence([], [])).shape == (2, 6)
    with pytest.raises(ValueError, match=r"need arrays of numbers; sample 1 is a str"):
        Flat().compute([torch.ones(2), "two"], evidence([], []))
    with pytest.raises(ValueError, match=r"sample 1 has 3 numbers, the first 2"):
        Flat().compute([torch.ones(2), torch.ones(3)], evidence([], []))


def test_generated_samples_beyond_half_of_the_real_ones_are_not_judged():
    sets = compare(Flat(), evidence(points(100), points(40), points(20)), 10, 1000)
    assert (len(sets.generated), len(sets.probe), len(sets.reference)) == (30, 30, 30)
    assert "30 samples (of 100: as many as half of the 60 real ones) against 30 real ones" in sets.note
    pool = {tuple(x.tolist()) for x in torch.cat((points(40), points(20))).float().double()}
    assert {tuple(x.tolist()) for x in torch.cat((sets.probe, sets.reference))} == pool


# -------------------------------------------------------------------------------------- what a denoiser knows of held-out samples


def _known_by_a_denoiser(train: int = 24, test: int = 8) -> Evidence:
    """Waves of four labels, and a small denoiser of them whose weights do something."""
    data = Waves(count=64)
    splits = [[data.build(split)[i] for i in range(count)] for split, count in (("train", train), ("test", test))]
    samples = [record.sample for record in splits[0]]
    tokenizer = TokenizerCase(GridConfig(patch=(2,)), samples, Toy.axes).fitted()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = DiTConfig(depth=1, width=32, heads=2).build(tokenizer.specs, cross=False)
        conditions = Conditions(32, {"label": ClassConfig().build(32, [0, 1, 2, 3])})
    denoiser = Denoiser(backbone, conditions, {spec.name: Corruption(Rectified(), "velocity") for spec in tokenizer.specs})
    shaken(denoiser, size=0.1)
    model = RowGenerator(denoiser.eval().requires_grad_(False), Sampling(), noised=False)
    asked = [dict(record.conditions) for record in splits[0]]
    return Evidence(Toy(data=data), samples, asked, Listed(splits[0]), Listed(splits[1]), tokenizer, model=model)


KNOWING = [LikelihoodMetric(steps=2), DiffusionClassifier(condition="label", draws=2), Probe(condition="label")]


class TestWhatADenoiserKnows(MetricContract):
    @pytest.fixture(scope="class", params=KNOWING, ids=lambda metric: metric.kind)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> MetricCase:
        return MetricCase(request.param, _known_by_a_denoiser())

    def test_too_few_samples_are_refused(self, case: MetricCase) -> None:
        """It judges the data's samples, however many were made."""
        few = _known_by_a_denoiser(test=1)
        with pytest.raises(TooFewSamples, match=f"{case.metric.kind} needs at least 2 samples, given 1: it judges those of the data"):
            case.metric.compute(few)

    def test_it_needs_the_runs_denoiser(self, case: MetricCase) -> None:
        with pytest.raises(ValueError, match=rf"metric '{case.metric.kind}' asks the run's denoiser: judge by Run\.evaluate"):
            case.metric.compute(replace(case.evidence, model=None))


NO_CLASSES = {
    "another name": (DiffusionClassifier(condition="colour"), "there is no condition 'colour', the denoiser knows label"),
    "what no sample has": (
        Probe(condition="colour"), r"'probe': condition 'colour' has 0 values among \d+ samples, expected 2 or more; samples have label",
    ),
    "a block that is not there": (Probe(condition="label", block=3), "metric 'probe' names block 3: the denoiser has block 0 alone"),
    "a site that is not there": (Probe(condition="label", part="head"), r"'probe' reads at a site 'head': those that .* block, cross"),
}  # fmt: skip


@pytest.mark.parametrize(("metric", "says"), NO_CLASSES.values(), ids=NO_CLASSES)
def test_what_is_not_there_to_tell_is_refused(metric: Metric, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        metric.compute(_known_by_a_denoiser())


@pytest.mark.parametrize("kind", [DiffusionClassifier, Probe])
def test_a_number_is_no_class(kind: type[DiffusionClassifier | Probe]) -> None:
    conditions = Conditions(16, {"size": NumberConfig().build(16, [1.0, 2.0]), "label": ClassConfig().build(16, [0, 1])})
    denoiser = _known_by_a_denoiser().model.denoiser
    denoiser.conditions = conditions
    says = f"metric '{kind.kind}' tells classes, and 'size' is a number: choose label"
    assert list(kind(condition="size").unanswered(denoiser)) == [says]
    assert not list(kind(condition="label").unanswered(denoiser))


def test_numbers_that_the_denoiser_does_not_know_are_no_classes_either() -> None:
    evidence = _known_by_a_denoiser()
    train, test = (Listed([Record(r.sample, {"size": 0.5 + i}) for i, r in enumerate(map(data.__getitem__, range(len(data))))])
                   for data in (evidence.train, evidence.test))  # fmt: skip
    with pytest.raises(ValueError, match=r"metric 'probe' tells classes, whole numbers or names: 'size' is 0\.5 of a sample"):
        Probe(condition="size").compute(replace(evidence, train=train, test=test))


def test_a_class_that_no_held_out_sample_has_is_a_candidate_all_the_same() -> None:
    """Chance is that of all classes that the denoiser knows."""
    evidence = _known_by_a_denoiser()
    ones = [evidence.test[i] for i in range(len(evidence.test)) if evidence.test[i].conditions["label"] != 0]
    (found,) = DiffusionClassifier(condition="label", draws=2).compute(replace(evidence, test=Listed(ones)))
    whole = len({evidence.train[i].conditions["label"] for i in range(len(evidence.train))})
    assert f"of {whole} classes, chance {1 / whole:.3g}" in found.note


def test_the_likelihood_of_what_is_predicted_as_data_tells_where_it_begins() -> None:
    evidence = _known_by_a_denoiser()
    denoiser = evidence.model.denoiser
    (plain,) = LikelihoodMetric(steps=2, exact=True, limit=2).compute(evidence)
    assert "begins" not in plain.note
    denoiser.corruptions = {name: Corruption(each.path, "data") for name, each in denoiser.corruptions.items()}
    (found,) = LikelihoodMetric(steps=2, limit=4).compute(evidence)
    assert re.search(r"a bound, that begins with noise \([\d.]+ of the signal in '\w+'\)", found.note)
    assert abs(found.value) < 20


# ------------------------------------------------------------------------------------------------------------- smoothness of ways


class Following:
    """In the place of a generator: it hands what it is given on to the real one, or makes samples of the prior by `make`."""

    def __init__(self, real: RowGenerator, make: Callable[[Tensor], Tensor] | None = None) -> None:
        self.denoiser, self.real, self.make = real.denoiser, real, make
        self.state: State | None = None
        self.asked: list[dict[str, Any]] = []
        self.known = Known()

    def __call__(self, state: State, conditions: Sequence[Any], begin: float = 1.0, known: Known | None = None) -> State:
        self.state, self.asked, self.known = state, list(conditions), known or Known()
        if self.make is None:
            return self.real(state, conditions, begin, known)
        return state.with_values({"tokens": self.make(self.known.prior["tokens"])})


class TestISTD(MetricContract):
    @pytest.fixture(scope="class", params=[None, Flat()], ids=["tokens", "flat"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> MetricCase:
        evidence = _known_by_a_denoiser()
        assert isinstance(evidence.model, RowGenerator)
        evidence.model.sampling = Sampling(steps=2)
        return MetricCase(ISTD(pairs=3, steps=2, features=request.param), evidence)

    def test_too_few_samples_are_refused(self, case: MetricCase) -> None:
        """It makes its own samples."""
        few = replace(case.evidence, samples=[], asked=[])
        assert case.metric.compute(few) == case.metric.compute(case.evidence)

    def test_it_needs_the_runs_denoiser(self, case: MetricCase) -> None:
        with pytest.raises(ValueError, match=r"metric 'istd' makes samples with the run's denoiser: judge by Run\.evaluate"):
            case.metric.compute(replace(case.evidence, model=None))


def test_a_way_goes_from_one_seeds_sample_to_anothers() -> None:
    """Its ends are what the two seeds alone would make, asked what a training sample is."""
    evidence = _known_by_a_denoiser()
    assert isinstance(evidence.model, RowGenerator)
    evidence.model.sampling = Sampling(steps=3, solver=Heun())
    seen = Following(evidence.model)
    found = by_name(ISTD(pairs=2, steps=3).compute(replace(evidence, model=seen)))
    state = seen.state
    assert state is not None
    assert len(state) == 8
    assert [len(set(part)) for part in (state.seeds[:4].tolist(), state.seeds[4:].tolist())] == [1, 1]
    assert seen.asked == [{"label": evidence.asked[i]["label"]} for i in (0, 12) for _ in range(4)]
    made = evidence.model(state, seen.asked, 1.0, seen.known)["tokens"].values
    alone = evidence.model(state.select([0, 4]), [seen.asked[0], seen.asked[4]])["tokens"].values
    torch.testing.assert_close(made[[0, 4]], alone, atol=1e-5, rtol=0)
    lasts = replace(state, seeds=torch.tensor([seed_of("istd", 0, i, 1) for i in range(2) for _ in range(4)])).noise("tokens", -1, 0)
    torch.testing.assert_close(seen.known.prior["tokens"][[3, 7]], lasts[[3, 7]], atol=1e-5, rtol=0)
    spread, mean = changes(made.double().flatten(1).unflatten(0, (2, 4)))
    assert found["istd"].value == pytest.approx(float(spread.mean()))
    assert found["unevenness"].value == pytest.approx(float((spread / mean).mean()))


def test_samples_that_jump_are_uneven() -> None:
    evidence = _known_by_a_denoiser()
    assert isinstance(evidence.model, RowGenerator)
    smooth, jumping = (
        by_name(ISTD(pairs=4, steps=8).compute(replace(evidence, model=Following(evidence.model, make))))
        for make in (lambda x: x, lambda x: x[:, :1, :1].sign().expand_as(x))
    )
    assert smooth["unevenness"].value < 0.2
    assert jumping["unevenness"].value > 1
    even, jump = torch.arange(6.0)[None, :, None], torch.tensor([0.0, 0, 0, 0, 4])[None, :, None]
    assert float(changes(even)[0]) == 0
    assert [float(x) for x in changes(jump)] == [2, 1]


def test_ways_of_tokens_that_have_no_normal_noise_are_refused() -> None:
    evidence = _known_by_a_denoiser()
    assert evidence.model is not None
    assert list(ISTD().unanswered(evidence.model.denoiser)) == []
    evidence.model.denoiser.corruptions = {"tokens": Corruption(Masked(), "data")}
    with pytest.raises(ValueError, match=r"metric 'istd' goes from noise to noise on Gaussian paths, not 'masked' \(stream 'tokens'\)"):
        ISTD().compute(evidence)
