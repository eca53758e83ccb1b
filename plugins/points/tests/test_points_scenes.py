"""Scenes: pieces of a street, the tokenizer whose tokens have places, and samples longer than any piece."""

import re
from pathlib import Path

import pytest
import torch

from anylatent import Run, load_recipe
from anylatent.cli import main
from anylatent.guidance.windows import Window, Windows
from anylatent.testing import DatasetCase, DatasetContract, TokenizerCase, TokenizerContract, difference
from anylatent_points.cloud import Cloud
from anylatent_points.modality import Points
from anylatent_points.primitives import Primitives
from anylatent_points.street import Street
from anylatent_points.street_pieces import SCALE
from anylatent_points.voxels import VoxelsConfig


def _pieces(config: Street) -> list[Cloud]:
    train = config.build("train")
    return [train[i].sample for i in range(len(train))]


class TestStreet(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> DatasetCase:
        config = Street(count=6, test_count=4, points=200)
        return DatasetCase(config, Points(data=config))


def test_pieces_are_in_a_box_and_as_dense_whatever_their_length() -> None:
    for length in (8.0, 16.0, 40.0):
        config = Street(count=4, points=3200, length=length)
        for index, cloud in enumerate(_pieces(config)):
            assert len(cloud) == 200 * length
            assert (cloud.scale, cloud.unit) == (SCALE, "m")
            metres = cloud.points * SCALE
            assert bool((metres.abs() <= torch.tensor([length / 2, 4.001, 4.0])).all()), f"piece {index} of {length} m leaves its box"
            assert metres[:, 0].abs().max() > length / 2 - 0.5
    assert Street(seed=1).build("train").fingerprint() != Street().build("train").fingerprint()
    with pytest.raises(ValueError, match="greater than or equal to 4"):
        Street(length=2)
    with pytest.raises(ValueError, match="points 2 of 16 m are none of a piece of 4 m: expected 3 or more"):
        Street(points=2, length=4)
    assert [len(cloud) for cloud in _pieces(Street(points=3, length=4, count=2))] == [1, 1]


def test_villages_and_woods_differ_and_both_are_alike_along_x() -> None:
    """Which windows rely on: a quarter of a piece looks like any other, on average. Only villages have hedges."""
    config = Street(count=60, points=1500)
    pieces = _pieces(config)
    for kind in (0, 1):
        x, _, z = (torch.cat([cloud.points for cloud in pieces[kind::2]]) * SCALE).unbind(1)
        quarters = [z[(x > low) & (x <= low + 4)] for low in (-8, -4, 0, 4)]
        shares = torch.tensor([len(part) for part in quarters]) / len(z)
        assert (shares - 0.25).abs().max() < 0.02
        assert max(part.mean() for part in quarters) - min(part.mean() for part in quarters) < 0.3
    hedges = [((cloud.points[:, 1] * SCALE - 0.3).abs() < 0.2).float().mean() for cloud in pieces]
    assert torch.stack(hedges[0::2]).mean() > 1.3 * torch.stack(hedges[1::2]).mean()


_FAR = Cloud(torch.cat((torch.rand(9, 3), torch.full((1, 3), 1e4))))


class TestVoxels(TokenizerContract):
    """Objects; a long one has more tokens."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        samples = list(Primitives(count=6, points=64).build("train").clouds)
        bad = [torch.zeros(8, 3), Cloud(torch.full((8, 3), torch.nan)), "a chair", _FAR]
        return TokenizerCase(
            VoxelsConfig(cells=8, patch=2), samples, bad=bad, sizes={16: 8 * 3 * 4, (2, 4, 6): 1 * 2 * 3, (None, 2): 4 * 1 * 4}
        )


class TestVoxelsOfOddPatches(TokenizerContract):
    """Pieces of a street: cells are as many on both sides of 0, so tokens come in twos."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        samples = _pieces(Street(count=5, points=500))
        return TokenizerCase(VoxelsConfig(cells=12, patch=3), samples, bad=[_FAR], sizes={24: 8 * 2 * 2, (6, 6, 12): 2 * 2 * 4})


@pytest.fixture(scope="module")
def street() -> list[Cloud]:
    return _pieces(Street(count=4, points=2000))


def test_a_cell_is_where_its_points_are(street: list[Cloud]) -> None:
    """Every point is within a cell's diagonal of a decoded one and the other way round; positions count cells from the low corner."""
    tokenizer = VoxelsConfig(cells=32, patch=4).build(street[0])
    tokenizer.fit(street)
    assert tokenizer.facts["shape"] == [32, 16, 16]
    state = tokenizer.encode(street)
    for cloud, back in zip(street, tokenizer.decode(state)):
        assert len(back) == 2000
        apart = torch.cdist(cloud.points, back.points)
        assert max(apart.amin(1).max(), apart.amin(0).max()) < tokenizer.facts["cell"] * 3**0.5
    one = tokenizer.encode([Cloud(street[0].points[:1])])["voxels"]
    (token,) = (one.values[0] > one.values[0].amin(0)).any(1).nonzero()[:, 0].tolist() or [0]
    middle = (one.positions[0, token] + 0.5 - torch.tensor([16.0, 8.0, 8.0])) * tokenizer.facts["cell"]
    assert (middle - street[0].points[0]).abs().max() <= 2.001 * tokenizer.facts["cell"]


def test_longer_clouds_have_more_tokens_and_come_back(street: list[Cloud]) -> None:
    """Of the same density: a street four times as long has four times the tokens and the points."""
    tokenizer = VoxelsConfig(cells=32, patch=4).build(street[0])
    tokenizer.fit(street)
    (long,) = _pieces(Street(count=1, points=2000, length=64))
    state = tokenizer.encode([long])
    assert state["voxels"].shape[1] == 4 * 128
    (back,) = tokenizer.decode(state)
    assert len(back) == 8000
    assert torch.cdist(long.points, back.points).amin(1).max() < tokenizer.facts["cell"] * 3**0.5
    assert not difference(tokenizer.encode([back])["voxels"].values, state["voxels"].values)
    wide = tokenizer.layout(torch.arange(2), size=(64, None, 32))["voxels"]
    assert wide.shape[1] == 16 * 4 * 8


@pytest.mark.parametrize("further", [0.03, 0.3, 0.6])
def test_a_longer_cloud_is_cut_where_training_clouds_are(street: list[Cloud], further: float) -> None:
    """One point farther along x, in the row of cells of another: there are tokens more on both sides, and the others are the same."""
    tokenizer = VoxelsConfig(cells=32, patch=4).build(street[0])
    tokenizer.fit(street)
    place = street[0].points[:1]
    beyond = place * torch.tensor([0.0, 1.0, 1.0]) + torch.tensor([16 * tokenizer.facts["cell"] + further, 0.0, 0.0])
    plain, longer = (tokenizer.encode([cloud])["voxels"].values[0] for cloud in (street[0], Cloud(torch.cat((street[0].points, beyond)))))
    plain, longer = plain.unflatten(0, (8, 4, 4)), longer.unflatten(0, (-1, 4, 4))
    more, odd = divmod(len(longer) - len(plain), 2)
    assert (more > 0, odd) == (True, 0)
    assert torch.equal(longer[more:-more], plain)


def test_an_empty_scene_is_where_points_are_likeliest(street: list[Cloud]) -> None:
    """And a full one has a point in each cell, though there are more cells than points in training."""
    tokenizer = VoxelsConfig(cells=8, patch=2).build(street[0])
    few = [Cloud(cloud.points[:40]) for cloud in street]
    tokenizer.fit(few)
    state = tokenizer.layout(torch.arange(1))
    values = torch.full_like(state["voxels"].values, -9.0)
    values[0, 3, 5] = -8.0
    (cloud,) = tokenizer.decode(state.with_values({"voxels": values}))
    assert len(cloud) == 40
    assert (cloud.points.amax(0) - cloud.points.amin(0)).max() < tokenizer.facts["cell"]
    (full,) = tokenizer.decode(state.with_values({"voxels": torch.full_like(values, 9.0)}))
    assert len(full) == 8 * 4 * 4
    assert torch.cdist(full.points, full.points).add(9 * torch.eye(len(full))).min() > 0.1 * tokenizer.facts["cell"]


def test_what_cannot_be_cut_is_refused(street: list[Cloud]) -> None:
    with pytest.raises(ValueError, match=r"points\.voxels takes a Cloud of finite float32 points \(n, 3\), given a str"):
        VoxelsConfig().build("a street")
    with pytest.raises(ValueError, match=r"points\.voxels cuts space into cells: all points are in the middle of the frame"):
        VoxelsConfig().build(Cloud(torch.zeros(4, 3)))
    tokenizer = VoxelsConfig(cells=32, patch=4).build(street[0])
    told = "sample 0: points.voxels has cells of 0.051, and points up to 1e+04 from the middle need more than 16,777,216: scale it like"
    with pytest.raises(ValueError, match=re.escape(told)):
        tokenizer.encode([_FAR])
    with pytest.raises(ValueError, match=r"size 30: expected a number of axis 'x', a multiple of 4, given 30"):
        tokenizer.layout(torch.arange(2), size=30)


RECIPE = {
    "name": "lane",
    "modality": {"kind": "points", "data": {"kind": "points.street", "count": 12, "test_count": 10, "points": 400}},
    "tokenizer": {"kind": "points.voxels", "cells": 8, "patch": 4},
    "conditions": {"category": {"kind": "class"}},
    "denoiser": {"kind": "dit", "depth": 1, "width": 16, "heads": 2, "absolute": True},
    "train": {"steps": 3, "batch": 4, "warmup": 1, "ema": [0.9], "preview": 0, "checkpoint": 3},
    "sample": {"count": 2, "steps": 2},
}


def test_scenes_longer_than_training_saw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained, asked for by `--size`, made in windows as in each alone where they do not overlap, written."""
    run = Run.create(load_recipe(RECIPE), tmp_path / "lane")
    for _ in run.train():
        pass
    windows = Windows(windows=(Window(axis="x", size=8, overlap=4),))
    made = run.sample(2, seed=5, size=24, guidance=windows)
    piece = 2 * run.tokenizer.facts["cell"] * 4
    for cloud in made.samples:
        assert len(cloud) >= 3 * 400
        assert 1.9 * piece < cloud.points[:, 0].max() - cloud.points[:, 0].min() <= 3 * piece
    assert made.receipts["engine"].counts["network_calls"] == 2 * 2 * 5, "rows x steps x windows"
    assert not difference(run.sample(1, seed=6, size=24, guidance=windows).samples[0], made.samples[1], 1e-4)
    out = tmp_path / "scenes"
    with pytest.raises(SystemExit) as stopped:
        main(["sample", str(run.folder), "--count", "1", "--size", "24", "--seed", "5", "--out", str(out), "--guidance",
              "{kind: windows, windows: [{axis: x, size: 8, overlap: 4}]}"])  # fmt: skip
    assert stopped.value.code == 0, capsys.readouterr().err
    (written,) = out.glob("0000.ply")
    assert not difference(run.recipe.modality.read(written).points, made.samples[0].points, 1e-4)
