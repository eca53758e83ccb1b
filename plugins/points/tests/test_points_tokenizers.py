"""The tokenizers that learn nothing: their contracts, and what a k-d tree's leaves are."""

import pytest
import torch

from anylatent.testing import TokenizerCase, TokenizerContract
from anylatent_points.cloud import Cloud
from anylatent_points.primitives import Primitives
from anylatent_points.token_tokenizers import in_tree_order
from anylatent_points.tokens import LeavesConfig, PointSetConfig


def _clouds(points: int, count: int = 6) -> list[Cloud]:
    return list(Primitives(count=count, points=points).build("train").clouds)


def _permuted(cloud: Cloud, order: list[int]) -> Cloud:
    return Cloud(cloud.points[order], cloud.scale, cloud.unit, cloud.mesh)


_NO_CLOUDS = [torch.zeros(8, 3), Cloud(torch.zeros(8, 2)), Cloud(torch.zeros(0, 3)), Cloud(torch.full((8, 3), torch.nan)), "a chair"]


class TestPointSet(TokenizerContract):
    """Clouds of several sizes."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        samples = [_clouds(points, 1)[0] for points in (5, 32, 20, 64, 33)]
        return TokenizerCase(PointSetConfig(), samples, bad=_NO_CLOUDS, permute=_permuted, sizes={7: 7, 100: 100})


class TestLeaves(TokenizerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        bad = [*_NO_CLOUDS, *_clouds(32, 1)]
        return TokenizerCase(LeavesConfig(patch=4), _clouds(64), bad=bad, sizes={16: 16}, round_trip=1e-3)


class TestLeavesOfQuietDetail(TokenizerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        return TokenizerCase(
            LeavesConfig(patch=8, detail=0.25),
            _clouds(64),
            bad=_NO_CLOUDS,
            sizes={8: 8},
            round_trip=1e-3,
            unnormalised="`detail` makes differences quieter than means on purpose; the means have scale 1",
        )


@pytest.mark.parametrize("detail", [1.0, 0.25])
def test_means_have_scale_1_and_differences_detail(detail: float) -> None:
    clouds = _clouds(64, 12)
    tokenizer = LeavesConfig(patch=8, detail=detail).build(clouds[0])
    tokenizer.fit(clouds)
    spread = tokenizer.encode(clouds)["leaves"].values.flatten(0, 1).std(0, correction=0)
    expected = torch.cat((torch.ones(3), torch.full((21,), detail)))
    torch.testing.assert_close(spread, expected, atol=1e-3, rtol=1e-3)


class TestLeavesOfOnePoint(TokenizerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        return TokenizerCase(LeavesConfig(patch=1), _clouds(32), bad=_NO_CLOUDS, sizes={32: 32}, round_trip=1e-3)


def test_leaves_do_not_depend_on_the_order_of_points() -> None:
    """To the bit, on flat objects too, where many points have one height."""
    clouds = _clouds(256)
    tokenizer = LeavesConfig().build(clouds[0])
    tokenizer.fit(clouds)
    for seed, cloud in enumerate(clouds):
        order = torch.randperm(256, generator=torch.Generator().manual_seed(seed)).tolist()
        plain, other = (tokenizer.encode([x])["leaves"].values for x in (cloud, _permuted(cloud, order)))
        assert torch.equal(plain, other)


def test_leaves_hold_each_point_once_and_are_neighbours() -> None:
    """Decoded, the points are those that were given; a patch is far smaller than the cloud."""
    cloud = _clouds(256, 1)[0]
    tokenizer = LeavesConfig(patch=8).build(cloud)
    tokenizer.fit([cloud] * 2)
    (back,) = tokenizer.decode(tokenizer.encode([cloud]))
    distance = (cloud.points[:, None] - back.points).norm(dim=-1)
    assert distance.min(0).values.max() < 1e-5
    assert distance.min(1).values.max() < 1e-5
    patches = in_tree_order(cloud.points[None])[0].unflatten(0, (32, 8))
    spread = (patches - patches.mean(1, keepdim=True)).norm(dim=-1).mean()
    assert spread < 0.35 * cloud.points.norm(dim=-1).mean()


def test_a_leaf_is_where_its_cell_says() -> None:
    """Cells of greater x, y or z hold points of greater x, y or z, by the mean over all leaves."""
    points = torch.rand(256, 3, generator=torch.Generator().manual_seed(0))
    state = LeavesConfig(patch=4).build(Cloud(points)).encode([Cloud(points)])["leaves"]
    patches = in_tree_order(points[None])[0].unflatten(0, (64, 4)).mean(1)
    assert state.positions[0].unique(dim=0).tolist() == [[x, y, z] for x in range(4) for y in range(4) for z in range(4)]
    for axis in range(3):
        means = [patches[state.positions[0][:, axis] == cell][:, axis].mean() for cell in range(4)]
        assert means == sorted(means)
        assert means[3] - means[0] > 0.5


def test_clouds_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"patches of 8 points: the number of points must be 8 times a power of two, given 100; choose"):
        LeavesConfig(patch=8).build(_clouds(100, 1)[0])
    with pytest.raises(ValueError, match=r"points\.set takes a Cloud of finite float32 points \(n, 3\), given a str"):
        PointSetConfig().build("a chair")
    with pytest.raises(ValueError, match="a patch of 6 points cannot be halved down to one: choose a power of two"):
        LeavesConfig(patch=6)
    tokenizer = LeavesConfig(patch=8).build(_clouds(64, 1)[0])
    with pytest.raises(ValueError, match=r"sample 0: points\.leaves takes a Cloud of finite float32 64 points, given a Cloud of 32"):
        tokenizer.encode(_clouds(32, 1))
    with pytest.raises(ValueError, match=r"size 9: points\.leaves makes 8 tokens a cloud, of no other size"):
        tokenizer.layout(torch.arange(2), size=9)
    with pytest.raises(ValueError, match="1 of 8 points not finite"):
        PointSetConfig().build(Cloud(torch.cat((torch.zeros(7, 3), torch.full((1, 3), torch.inf)))))
