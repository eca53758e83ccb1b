"""Completing a cloud of which a part is given."""

import pytest
import torch

from anylatent.testing import EditorCase, EditorContract
from anylatent_points.cloud import Cloud
from anylatent_points.complete import Complete
from anylatent_points.latent import LatentConfig
from anylatent_points.primitives import Primitives
from anylatent_points.tokens import LeavesConfig, PointSetConfig


def _clouds(points: int) -> list[Cloud]:
    return list(Primitives(categories=("chair", "mug", "lamp"), count=3, points=points).build("train").clouds)


EMPTY = Complete(at=1e-9)


class TestOnSets(EditorContract):
    """Clouds of several sizes."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> EditorCase:
        samples = [_clouds(points)[i] for i, points in enumerate((24, 40, 33))]
        tokenizer = PointSetConfig().build(samples[0])
        tokenizer.fit(samples)
        refused = [
            (Complete(at=1e-9, side="above"), "everything would be kept of given cloud 0: move the plane"),
            (EMPTY, "nothing would be kept of given cloud 0: move the plane"),
        ]
        return EditorCase(Complete(), tokenizer, samples, refused=refused)

    def test_nothing_given_is_refused(self, case: EditorCase) -> None:
        with pytest.raises(ValueError, match="no cloud was given to complete"):
            case.editor.start(case.tokenizer, [], torch.tensor([0]))


class TestOnLeaves(EditorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> EditorCase:
        samples = _clouds(64)
        tokenizer = LeavesConfig(patch=4).build(samples[0])
        tokenizer.fit(samples)
        return EditorCase(
            Complete(axis="z", side="above"),
            tokenizer,
            samples,
            refused=[(EMPTY, "nothing would be kept of given cloud 0: move the plane")],
        )


@pytest.mark.parametrize("side", ["below", "above"])
def test_kept_are_the_points_of_one_side(side: str) -> None:
    """And no point of the other: of a set, all of that side; of leaves, those whose whole patch is there."""
    cloud = _clouds(64)[0]
    editor = Complete(axis="z", at=0.4, side=side)
    kept = editor.kept(cloud.points)
    border = cloud.points[:, 2].min() + 0.4 * (cloud.points[:, 2].max() - cloud.points[:, 2].min())
    assert torch.equal(kept, (cloud.points[:, 2] < border) == (side == "below"))
    for config in (PointSetConfig(), LeavesConfig(patch=4)):
        tokenizer = config.build(cloud)
        tokenizer.fit([cloud] * 2)
        (stream,) = editor.start(tokenizer, [cloud], torch.tensor([0])).streams.values()
        state = tokenizer.encode([cloud])
        (made,) = tokenizer.decode(state)
        patch = len(cloud) // stream.shape[1]
        held = made.points[stream.keep[0].repeat_interleave(patch)]
        assert len(held) > 8
        assert editor.kept(made.points)[stream.keep[0].repeat_interleave(patch)].all()
        if patch == 1:
            assert len(held) == kept.sum()


def test_the_result_has_the_given_scale() -> None:
    whole = _clouds(24)[0]
    (finished, other) = Complete().finish([Cloud(torch.zeros(3, 3)), Cloud(torch.ones(3, 3))], [whole])
    assert (finished.scale, finished.unit) == (other.scale, other.unit) == (whole.scale, "m")


def test_latents_hold_no_points() -> None:
    cloud = _clouds(24)[0]
    with pytest.raises(ValueError, match=r"points\.complete keeps points: it needs the tokenizer points\.set or points\.leaves"):
        Complete().start(LatentConfig(latents=4, width=16, heads=2).build(cloud), [cloud], torch.tensor([0]))
