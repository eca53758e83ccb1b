"""Distances of clouds and of sets of clouds, against what is known, and what they say of good and bad samples."""

from dataclasses import replace

import pytest
import torch

from anylatent.metrics.base import Evidence, TooFewSamples
from anylatent.testing import Listed, MetricCase, MetricContract
from anylatent_points.agreement import CategoryAgreement, ExtentError
from anylatent_points.cloud import Cloud
from anylatent_points.distances import among, between, chamfer, earth_mover, thinned
from anylatent_points.latent import LatentConfig
from anylatent_points.modality import Points
from anylatent_points.primitives import Primitives
from anylatent_points.reconstruction import Reconstruction
from anylatent_points.set_metrics import SetDistance, same_set

DATA = Primitives(categories=("chair", "table", "mug"), count=60, test_count=48, points=48)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """Real clouds that neither split has in the place of samples."""
    train, test = DATA.build("train"), DATA.build("test")
    other = DATA.model_copy(update={"seed": 1}).build("test")
    records = [other[i] for i in range(24)]
    return Evidence(Points(data=DATA), [r.sample for r in records], [r.conditions for r in records], train, test)


class TestChamferOfSets(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        return MetricCase(SetDistance(points=32), evidence)


class TestEarthMoverOfSets(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        return MetricCase(SetDistance(distance="earth-mover", points=16, limit=12, baselines=False), evidence)


class TestCategory(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        return MetricCase(CategoryAgreement(points=32), evidence)


class TestExtent(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        return MetricCase(ExtentError(), evidence, tolerance=1e-4)


class TestReconstruction(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, evidence: Evidence) -> MetricCase:
        config = LatentConfig(latents=4, width=16, heads=2, depth=1)
        tokenizer = config.build(evidence.train[0].sample).eval()
        return MetricCase(Reconstruction(limit=6, queries=200), replace(evidence, tokenizer=tokenizer))


def _points(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows)[None]


def test_chamfer_by_hand() -> None:
    """Two points and one: squared distances there 0 and 4, back 0."""
    a, b = _points([0.0, 0, 0], [2.0, 0, 0]), _points([0.0, 0, 0])
    assert chamfer(a, b).tolist() == [2.0]
    assert chamfer(b, a).tolist() == [2.0]
    assert chamfer(a, a).tolist() == [0.0]


def test_earth_mover_finds_the_best_assignment() -> None:
    """The nearest would be taken twice; each may be taken once only."""
    a, b = _points([0.0, 0, 0], [1.0, 0, 0]), _points([1.0, 0, 0], [5.0, 0, 0])
    assert earth_mover(a, b).tolist() == [2.5]
    generator = torch.Generator().manual_seed(0)
    c = torch.rand(1, 20, 3, generator=generator)
    assert earth_mover(c, c[:, torch.randperm(20, generator=generator)]).item() == pytest.approx(0, abs=1e-6)


def test_all_pairs_are_the_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(5, 16, 3, generator=generator), torch.rand(30, 16, 3, generator=generator)
    across, own = between(a, b, "chamfer"), among(a, "chamfer")
    assert across.shape == (5, 30)
    torch.testing.assert_close(across[3, 17], chamfer(a[3:4], b[17:18])[0])
    torch.testing.assert_close(own[1, 4], chamfer(a[1:2], a[4:5])[0])
    assert torch.equal(own, own.T)
    assert own.diagonal().isinf().all()


def test_one_nearest_neighbour_by_hand() -> None:
    """On a line: samples at 0, 1 and 10, real ones at 11, 12 and 0.4. The first two and the last are nearest to the other set."""
    ours, real = torch.tensor([0.0, 1, 10]), torch.tensor([11.0, 12, 0.4])

    def apart(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x[:, None] - y).abs()

    far = torch.full((3,), torch.inf).diag().nan_to_num(0, posinf=torch.inf)
    hits = same_set(apart(ours, ours) + far, apart(ours, real), apart(real, real) + far)
    assert hits.tolist() == [False, False, False, False, True, False]


def _named(metric, evidence: Evidence) -> dict[str, float]:
    return {measure.name: measure.value for measure in metric.compute(evidence)}


def test_real_clouds_beat_the_baselines(evidence: Evidence) -> None:
    """Nearer to held-out ones and hardly told apart from them; normal noise is told apart."""
    found = _named(SetDistance(points=32), evidence)
    order = ["chamfer-mmd", *(f"chamfer-mmd of {name}" for name in ("resampled-0.05", "resampled-0.1", "gaussian"))]
    assert [found[name] for name in order] == sorted(found[name] for name in order)
    assert found["chamfer-1-nna"] < 0.65
    assert found["chamfer-1-nna of gaussian"] > 0.7
    assert found["chamfer-coverage"] > found["chamfer-coverage of gaussian"]


def test_copies_with_little_noise_are_as_good_as_real_clouds(evidence: Evidence) -> None:
    """The resampled baseline copies: what it is worth is a matter of its noise, which is why its numbers are given with that."""
    measures = {measure.name: measure for measure in SetDistance(points=32, noise=(0.0, 0.2)).compute(evidence)}
    still, noisy = measures["chamfer-mmd of resampled-0"], measures["chamfer-mmd of resampled-0.2"]
    assert still.value < 1.2 * still.floor
    assert noisy.value > 2 * noisy.floor
    assert "plus noise of 0.2" in noisy.note
    assert "chamfer-mmd of resampled-0.05" not in measures


def test_one_cloud_again_and_again_covers_nothing(evidence: Evidence) -> None:
    """Each of its copies is told from real ones, and only one held-out cloud is found."""
    copies = replace(evidence, samples=[evidence.samples[0]] * 24)
    found = _named(SetDistance(points=32, baselines=False), copies)
    assert found["chamfer-coverage"] == 1 / 24
    assert found["chamfer-1-nna"] > 0.9


def test_categories_and_boxes_are_checked(evidence: Evidence) -> None:
    """Real clouds are of their category and have their box; asked for others, they are and have not."""
    (right,) = CategoryAgreement(points=32).compute(evidence)
    assert right.value > 0.9
    wrong = {"chair": "mug", "mug": "table", "table": "chair"}
    others = replace(evidence, asked=[{"category": wrong[row["category"]]} for row in evidence.asked])
    assert CategoryAgreement(points=32).compute(others)[0].value < 0.1
    boxes = _named(ExtentError(), evidence)
    assert boxes["extent-error"] < 0.15
    assert boxes["extent-error of shuffled"] > 2 * boxes["extent-error"]


def test_thinning_keeps_points_of_the_cloud() -> None:
    cloud = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
    (few,) = thinned([cloud], 10)
    assert (torch.cdist(few, cloud).amin(1) < 1e-3).all()
    assert torch.cdist(few, few).add(torch.eye(10) * 9).min() > 0.2, "they are spread"
    assert torch.equal(thinned([cloud.flip(0)], 10)[0].sort(0).values, few.sort(0).values)


def test_what_cannot_be_judged_is_refused(evidence: Evidence) -> None:
    with pytest.raises(ValueError, match="cloud 0 has 48 points, 64 are to be compared: ask for fewer `points`"):
        SetDistance(points=64).compute(evidence)
    with pytest.raises(ValueError, match="cloud 0 has points that are not finite numbers"):
        thinned([torch.full((9, 3), torch.nan)], 9)
    few = Listed([evidence.test[i] for i in range(9)])
    with pytest.raises(TooFewSamples, match="needs at least 10 held-out clouds, the test split has 9"):
        SetDistance(points=32).compute(replace(evidence, test=few))
    with pytest.raises(ValueError, match="by the condition 'category', which none of them was asked for"):
        CategoryAgreement(points=32).compute(replace(evidence, asked=[{}] * 24))
    with pytest.raises(ValueError, match="by the condition 'extent', which none of them was asked for"):
        ExtentError().compute(replace(evidence, asked=[{}] * 24))
    with pytest.raises(ValueError, match=r"judges the tokenizer points\.latent; this run has another"):
        Reconstruction().compute(evidence)
    tokenizer = LatentConfig(latents=4, width=16, heads=2, depth=1).build(evidence.train[0].sample)
    bare = Listed([Cloud(evidence.test[i].sample.points) for i in range(6)])
    with pytest.raises(ValueError, match="held-out cloud 0 has no mesh to compare with"):
        Reconstruction(limit=5).compute(replace(evidence, test=bare, tokenizer=tokenizer))
